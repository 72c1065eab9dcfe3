"""Attacks on a checkpoint by somebody who has it: FGSM and PGD within a stated budget.

FGSM (Goodfellow et al., ICLR 2015) takes one step along the sign of the gradient, PGD (Madry et
al., ICLR 2018) several small ones from a random start, each brought back into the budget. Every
window is pushed away from its true answer. Pixels of the aligned faces move by at most `pixels`
of 255 (L-infinity). Sound moves, where there is speech, by at most a sample value that keeps the
ratio of the window's power to that of the perturbation at or above `snr` dB. Flow is not followed:
it stays that of the untouched faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from aura.training.contract.network import Windows
from aura.training.data.clip import UNKNOWN

if TYPE_CHECKING:
    from torch import Tensor

    from aura.training.contract.network import ContractNetwork, Look
    from aura.training.contract.samples import Batch

PGD_STEPS = 10
PGD_STRIDE = 2.5  # of budget / steps: enough to reach its edge and turn round there
BRIGHTEST = 255.0
EPSILONS = (1.0, 2.0, 4.0)  # of 255
SNRS = (40.0, 30.0)  # dB


@dataclass(frozen=True)
class Attack:
    """What an attacker may do.

    `steps` 1 is FGSM. `pixels` of 255 on faces, 0 leaves them; `snr` in dB on sound, None leaves
    it. `seed` of PGD's random start.
    """

    steps: int
    pixels: float = 0.0
    snr: float | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """What it is called in tables."""
        method = "FGSM" if self.steps == 1 else "PGD"
        return f"{method} {'faces' if self.pixels else 'sound'}"

    @property
    def setting(self) -> str:
        """The budget in words."""
        parts = [f"{self.steps} steps"] if self.steps > 1 else []
        if self.pixels:
            parts.append(f"epsilon {self.pixels:g}/255")
        if self.snr is not None:
            parts.append(f"SNR at least {self.snr:g} dB")
        return ", ".join(parts)


ATTACKS = (
    *(Attack(steps, pixels=one) for steps in (1, PGD_STEPS) for one in EPSILONS),
    *(Attack(steps, snr=one) for steps in (1, PGD_STEPS) for one in SNRS),
)


def attacked(
    network: ContractNetwork, batch: Batch, attack: Attack, look: Look | None = None
) -> Windows:
    """The batch's windows, moved against the network within the budget.

    Args:
        network: in evaluation mode. batch: `inputs` are windows; pictures may be uint8 and come
            back so where only sound moves. A window whose answer nobody knows is pushed by that of
            its clip. look: of `ContractNetwork.encode`, for faces that stay as they are.
    """
    clean = Windows(*batch.inputs)
    if attack.pixels:
        clean = clean._replace(frames=clean.frames.to(clean.motion.device).float())
    labels = batch.targets.label.to(clean.motion.device)
    whole = torch.tensor([one.label for one in batch.origins], device=labels.device)
    labels = torch.where(labels == UNKNOWN, whole, labels)
    faces, sound = _budgets(clean, attack)
    seen = clean.frame_mask[..., None, None, None]
    shift = torch.zeros(clean.frames.shape if attack.pixels else (), device=labels.device)
    noise = torch.zeros_like(clean.sound)
    if attack.steps > 1:
        random = torch.Generator().manual_seed(attack.seed)
        shift = _uniform(shift, random) * faces
        noise = _uniform(noise, random) * sound
    stride = 1.0 if attack.steps == 1 else PGD_STRIDE / attack.steps
    flags = [one.requires_grad for one in network.parameters()]
    network.requires_grad_(requires_grad=False)  # only inputs are wanted
    try:
        with torch.no_grad():  # what the attack leaves alone is encoded once
            encoded = network.encode(clean, look)
        for _ in range(attack.steps):
            shift, noise = shift.requires_grad_(), noise.requires_grad_()
            moved = _moved(clean, shift, noise, seen)
            if attack.pixels:
                seeing = network.encode_faces(moved.frames, moved.motion, moved.frame_mask)
                encoded = encoded._replace(appearance=seeing)
            if attack.snr:
                speech, _ = network.speech(moved.sound, moved.speech_mask)
                encoded = encoded._replace(speech=speech)
            logits = network.decide(encoded).logits
            gain = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
            wanted = [one for one, used in ((shift, attack.pixels), (noise, attack.snr)) if used]
            slopes = iter(torch.autograd.grad(gain, wanted, allow_unused=True))
            if attack.pixels:
                shift = _step(shift, next(slopes), faces, stride)
            if attack.snr:
                noise = _step(noise, next(slopes), sound, stride)
    finally:
        for parameter, flag in zip(network.parameters(), flags, strict=True):
            parameter.requires_grad_(flag)
    moved = _moved(clean, shift.detach(), noise.detach(), seen)
    return Windows(*(value.detach() for value in moved))


def _budgets(clean: Windows, attack: Attack) -> tuple[Tensor | float, Tensor | float]:
    """Most that a pixel and (B, 1) that a sample may move."""
    if attack.snr is None:
        return attack.pixels, 0.0
    heard = clean.speech_mask
    power = (clean.sound.square() * heard).sum(dim=1) / heard.sum(dim=1).clamp(min=1)
    return attack.pixels, power.sqrt()[:, None] * 10 ** (-attack.snr / 20)


def _moved(clean: Windows, shift: Tensor, noise: Tensor, seen: Tensor) -> Windows:
    """Within what pictures and sound can hold, and nowhere that the network does not look.

    A `shift` without axes leaves the pictures as they are.
    """
    frames = clean.frames
    if shift.ndim:
        frames = (frames + shift * seen).clamp(0.0, BRIGHTEST)
    sound = (clean.sound + noise * clean.speech_mask).clamp(-1.0, 1.0)
    return clean._replace(frames=frames, sound=sound)


def _step(value: Tensor, slope: Tensor | None, budget: Tensor | float, stride: float) -> Tensor:
    if slope is None:  # this part of the network is switched off
        return value.detach()
    moved = value.detach() + slope.sign() * budget * stride
    limit = torch.as_tensor(budget, device=value.device, dtype=value.dtype)
    return torch.minimum(torch.maximum(moved, -limit), limit)


def _uniform(like: Tensor, random: torch.Generator) -> Tensor:
    return (torch.rand(like.shape, generator=random) * 2 - 1).to(like.device)
