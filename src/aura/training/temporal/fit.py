"""Windows of motion as rows of numbers, and the model on them.

Of every person's clips as much weight lies on real windows as on fakes made of them, so no person,
place, camera or length can stand for one kind. Kinds of fakes weigh what the configuration says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from aura.detectors.head_motion import HeadReader
from aura.detectors.motion_traces import TRACES, traces
from aura.errors import UsageError
from aura.evaluation.clips import labelled_clips
from aura.training import linear
from aura.training.temporal.fakes import CONTROLS, KINDS
from aura.training.temporal.prepare import CRFS, WHOLE, clip_path, made_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.evaluation.clips import LabelledClip

    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]

CORPORA = {"rizkiarm/LipNet": "grid"}  # one studio: its clips are kept together


@dataclass(frozen=True)
class Windows:
    """One row a window: `values` (n, 10) by `TRACES`, NaN where unknown; `item` (n,) which clip or
    made clip; `clip`, `group`, `source`, `kind` (n,) names; `crf` (n,) 0 for whole clips; `label`
    (n,) 1 = fake; `others` (n,) whether somebody else made the fake.
    """

    values: Floats
    item: NDArray[np.int64]
    clip: NDArray[np.str_]
    group: NDArray[np.str_]
    source: NDArray[np.str_]
    kind: NDArray[np.str_]
    crf: NDArray[np.int64]
    label: NDArray[np.int64]
    others: Mask

    def take(self, chosen: Any) -> Windows:
        """Some of the rows."""
        return Windows(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


class Network(linear.Network):
    """The linear network on traces: one that is unknown counts as its middle."""

    nan_is_middle = True


def group_of(clip: LabelledClip) -> str:
    """Who is kept together: a person, or a corpus of one studio."""
    return CORPORA.get(clip.source, clip.group)


def load(data: Path, out: Path) -> Windows:
    """Measure what `prepare` kept.

    Raises:
        UsageError: nothing is there.
    """
    rows: list[tuple[Any, ...]] = []
    for item, (path, clip, kind, crf) in enumerate(_items(data, out)):
        _, values = _measured(path)
        label = int(clip.label == 1 or kind in KINDS)
        others = clip.label == 1
        names = (clip.path.stem, group_of(clip), clip.source, kind)
        rows += [(one, item, *names, crf, label, others) for one in values]
    if not rows:
        raise UsageError(f"nothing prepared in {out}; run the step prepare first")
    columns = list(zip(*rows, strict=True))
    return Windows(np.stack(columns[0]), *(np.array(column) for column in columns[1:]))


def _items(data: Path, out: Path) -> Iterator[tuple[Path, LabelledClip, str, int]]:
    for clip in labelled_clips(data / "clips" / "dev"):
        yield clip_path(out, clip), clip, WHOLE, 0
        if clip.label == 0:
            for kind in (*CONTROLS, *KINDS):
                for crf in CRFS:
                    yield made_path(out, clip, kind, crf), clip, kind, crf


def _measured(path: Path) -> tuple[Floats, Floats]:
    """Spans and traces of a file's windows; measured once, kept beside it."""
    if not path.is_file():
        return np.zeros((0, 2)), np.zeros((0, len(TRACES)))
    with np.load(path) as kept:
        if "times" not in kept:
            return np.zeros((0, 2)), np.zeros((0, len(TRACES)))
        return traces(HeadReader().read(kept["times"], kept["heads"], kept["landmarks"]))


def weights(rows: Windows, chosen: Mask, kinds: Mapping[str, float]) -> Floats:
    """(n,) weights of the chosen rows, 0 for others: of a clip as much for real as for fake.

    Real: half on whole clips, half on controls. Fake: by their share in `kinds`.
    """
    result = np.zeros(len(rows.label))
    shares = {WHOLE: 0.5, **dict.fromkeys(CONTROLS, 0.25)}
    shares |= {kind: kinds.get(kind, 0.0) for kind in KINDS}
    clips = len(set(rows.clip[chosen]))
    for clip in set(rows.clip[chosen]):
        mine = chosen & (rows.clip == clip)
        for label in (0, 1):
            side = mine & (rows.label == label)
            present = {kind: shares[kind] for kind in set(rows.kind[side])}
            total = sum(present.values()) or 1.0
            for kind, share in present.items():
                these = np.flatnonzero(side & (rows.kind == kind))
                result[these] = share / total / len(these)
    return result / max(clips, 1)


def fit(rows: Windows, chosen: Mask, config: Mapping[str, Any]) -> Network:
    """Logistic regression against the kinds of fakes that the configuration names.

    Args:
        chosen: (n,) bool rows to fit on. config: `kinds` with their shares, and the fit's numbers.
    """
    real = rows.values[chosen & (rows.label == 0)]
    middle, spread = np.nanmedian(real, axis=0), np.nanstd(real, axis=0) + 1e-3
    network = Network(middle, spread, config["limit"], np.zeros(len(TRACES)), 0.0)
    weight = weights(rows, chosen, config["kinds"])
    chosen = chosen & (weight > 0)
    model = LogisticRegression(C=config["inverse_regularisation"], max_iter=500).fit(
        network.levelled(rows.values[chosen]),
        rows.label[chosen],
        sample_weight=weight[chosen] * config["weight_of_all"],
    )
    return replace(network, weights=model.coef_[0], bias=float(model.intercept_[0]))
