"""A still face made to move: the warp that a portrait animator applies before it draws.

Animators bend the features of one photo along a motion field and let a decoder paint over what the
field tore open (First Order Motion Model, Siarohin et al., NeurIPS 2019, and its successors). The
field here turns a head-shaped relief, opens the mouth, closes the eyes and moves the head against
the background; a generator then draws the result (`generators.py`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from aura.faces import TEMPLATE_SIDE
from aura.training.visual.crops import CANVAS_SPAN

# In units of ArcFace's 112-unit template, where the crop's face is.
CENTRE = (56.0, 66.0)
MOUTH = (56.0, 92.0)
EYES = ((38.3, 51.7), (73.5, 51.5))
TURN, NOD = 9.0, 7.0  # how far the nose may go against the head's outline
SHIFT = 5.0  # how far the head may go against the background
OPEN, CLOSED = 7.0, 3.0  # lips apart, lids down


def _bump(x: Tensor, y: Tensor, centre: tuple[float, float], wide: float, high: float) -> Tensor:
    return torch.exp(-(((x - centre[0]) / wide) ** 2) - ((y - centre[1]) / high) ** 2)


def drive(signal: Tensor, chance: torch.Generator) -> Tensor:
    """Give each aligned photo another pose and expression.

    Args:
        signal: (B, 3, S, S) in [-1, 1], showing `CANVAS_SPAN` template units.
        chance: source of chance, on the CPU.

    Returns:
        (B, 3, S, S); the picture's border stays where it was.
    """
    count, side = len(signal), signal.shape[-1]

    def draw(low: float, high: float) -> Tensor:
        return torch.empty(count, 1, 1).uniform_(low, high, generator=chance).to(signal.device)

    steps = (torch.arange(side, device=signal.device) + 0.5) * CANVAS_SPAN / side
    steps = steps - (CANVAS_SPAN - TEMPLATE_SIDE) / 2
    y, x = (axis[None] for axis in torch.meshgrid(steps, steps, indexing="ij"))
    head, relief = _bump(x, y, CENTRE, 55, 62), _bump(x, y, CENTRE, 34, 44)
    angle = draw(-0.1, 0.1)
    right = draw(-TURN, TURN) * relief + draw(-SHIFT, SHIFT) * head + angle * (y - 100) * head
    down = draw(-NOD, NOD) * relief + draw(-SHIFT, SHIFT) * head - angle * (x - 56) * head
    lips = _bump(x, y, MOUTH, 20, 14)
    apart = draw(-0.4, 1.0).clamp(min=0) * OPEN
    down = down + apart * lips * torch.tanh((y - MOUTH[1]) / 2)
    for eye in EYES:
        lid = _bump(x, y, eye, 9, 7)
        down = down + draw(-0.5, 1.0).clamp(min=0) * CLOSED * lid * torch.tanh((eye[1] - y) / 3)
    edge = (_edge(side, signal)[None, :] * _edge(side, signal)[:, None])[None]
    unit = 2.0 / CANVAS_SPAN  # of grid_sample's [-1, 1]
    lines = (torch.arange(side, device=signal.device) + 0.5) * 2 / side - 1
    flow = torch.stack(
        [lines[None, None, :] - right * edge * unit, lines[None, :, None] - down * edge * unit], -1
    )
    moved = F.grid_sample(signal, flow, padding_mode="reflection", align_corners=False)
    # Behind parted lips it is dark: a painted cavity, whose teeth no photo shows.
    cavity = _bump(x, y - 0.3 * apart, MOUTH, 11, 1.5) * (apart / OPEN) * draw(0.3, 0.9)
    dark = torch.tensor([-0.55, -0.8, -0.8], device=signal.device)[None, :, None, None]
    return moved + (dark - moved) * cavity[:, None]


def _edge(side: int, like: Tensor) -> Tensor:
    ramp = torch.linspace(-1, 1, side, device=like.device).abs()
    return ((1 - ramp) / 0.25).clamp(0, 1)
