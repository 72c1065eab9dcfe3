"""Sounds as rows of numbers, and the network on them.

Every group of recordings weighs the same on both sides: as much real sound as fake. So neither a
corpus nor a channel that has more of one kind can stand for it.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from aura.errors import UsageError
from aura.training.audio.prepare import CLEAN, WORN
from aura.training.audio.sounds import FAMILIES
from aura.training.linear import Network

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.audio.sounds import Recording

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

REAL = -1  # in place of a family


@dataclass(frozen=True)
class Sounds:
    """One row a sound: `values` (n, d) are means over its seconds of speech.

    `recording` (n,) index; `condition` (n,) of `prepare`; `label` (n,) 1 = fake; `family` (n,)
    index into `FAMILIES`, `REAL`; `remade` (n,) bool; `voice`, `group`, `source` (n,) names.
    """

    values: Floats
    recording: NDArray[np.int64]
    condition: NDArray[np.str_]
    label: NDArray[np.int64]
    family: NDArray[np.int64]
    remade: Mask
    voice: NDArray[np.str_]
    group: NDArray[np.str_]
    source: NDArray[np.str_]

    def to_learn(self) -> Mask:
        """Rows that may be trained on."""
        return np.isin(self.condition, (CLEAN, WORN))


def load(
    out: Path, found: Sequence[Recording], conditions: Sequence[str], *, seconds: bool = False
) -> Sounds:
    """Read what `prepare` wrote; with `seconds` a row for each second instead of their mean.

    Raises:
        UsageError: a condition is missing.
    """
    rows: list[tuple[Floats, int, bool, str]] = []
    for condition in conditions:
        paths = sorted(out.glob(f"{condition}_[0-9][0-9][0-9].npz"))
        if not paths:
            raise UsageError(f"no {condition} sounds in {out}; run the step prepare first")
        for path in paths:
            with np.load(path) as part:
                recording, remade, values = part["recording"], part["remade"], part["values"]
            edges = np.flatnonzero(np.diff(recording * 2 + remade)) + 1
            edges = np.arange(1, len(recording)) if seconds else edges
            for piece in np.split(np.arange(len(recording)), edges):
                mean = values[piece].astype(np.float64).mean(axis=0)
                rows.append((mean, int(recording[piece[0]]), bool(remade[piece[0]]), condition))
    order = list(FAMILIES)
    of = [found[row[1]] for row in rows]
    family = np.array([order.index(one.family) if one.family else REAL for one in of])
    remade = np.array([row[2] for row in rows])
    return Sounds(
        np.stack([row[0] for row in rows]),
        np.array([row[1] for row in rows]),
        np.array([row[3] for row in rows]),
        ((family != REAL) | remade).astype(np.int64),
        family,
        remade,
        np.array([one.voice for one in of]),
        np.array([one.group for one in of]),
        np.array([one.source for one in of]),
    )


def folds_of_voices(found: Sequence[Recording], count: int) -> dict[str, int]:
    """Which fold a voice is in: the largest first, each to the emptiest."""
    sizes = collections.Counter(one.voice for one in found)
    filled = [0] * count
    folds = {}
    for voice, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        folds[voice] = int(np.argmin(filled))
        filled[folds[voice]] += size
    return folds


def weights(sounds: Sounds, chosen: Mask, config: dict[str, Any]) -> Floats:
    """(n,) weights of the chosen rows, 0 for others: in a group 1 for the real, 1 for the fakes."""
    result = np.zeros(len(chosen))
    order = np.argsort(sounds.group, kind="stable")
    bounds = np.flatnonzero(sounds.group[order][1:] != sounds.group[order][:-1]) + 1
    for rows in np.split(order, bounds):
        mine = rows[chosen[rows]]
        real = mine[sounds.label[mine] == 0]
        remade = mine[sounds.remade[mine]]
        given = mine[sounds.family[mine] != REAL]
        share = config["remade_share"] if len(given) else 1.0
        whole = 1.0 if len(real) else config["unpaired_fake_weight"]
        result[real] = 1.0 / max(len(real), 1)
        result[remade] = whole * share / max(len(remade), 1)
        result[given] = whole * (1.0 - share if len(remade) else 1.0) / max(len(given), 1)
    return np.where(sounds.condition == WORN, config["worn_weight"], 1.0) * result


def fit(sounds: Sounds, chosen: Mask, config: dict[str, Any]) -> Network:
    """Logistic regression; values are measured by what is usual in clean recordings."""
    clean = sounds.values[chosen & (sounds.condition == CLEAN)]
    width = clean.shape[1]
    network = Network(
        np.median(clean, axis=0), clean.std(axis=0) + 1e-3, config["limit"], np.zeros(width), 0.0
    )
    model = LogisticRegression(C=config["inverse_regularisation"], max_iter=300, tol=1e-3).fit(
        network.levelled(sounds.values[chosen]),
        sounds.label[chosen],
        sample_weight=weights(sounds, chosen, config)[chosen],
    )
    return replace(network, weights=model.coef_[0], bias=float(model.intercept_[0]))
