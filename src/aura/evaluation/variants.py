"""The same clips under other conditions: perturbed, attacked, or with a part of the model off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aura.evaluation.compare import Contender, compare
from aura.evaluation.predictions import read_predictions
from aura.evaluation.suite import KEYS, RESAMPLES_BELOW_CLIPS, Evaluation, Measured

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from aura.evaluation.predictions import Header, Prediction
    from aura.metrics import Estimate

VARIANTS = "variants"
# What a variant was made by: the key in its header's options, and the heading on the page.
KINDS = {
    "robustness": "Robustness",
    "adversarial": "Attacks",
    "ablation": "Ablation",
}


@dataclass(frozen=True)
class Variant:
    """Figures of the same clips under other conditions, beside the untouched ones.

    `kind` is one of `KINDS`; `name` what was done, `level` how strongly (None: no scale),
    `setting` the parameter in words. `base` and `measured` are on the clips that both scored,
    `differences` are measured minus base, paired.
    """

    kind: str
    name: str
    level: float | None
    setting: str
    header: Header
    shared: int
    base: Measured
    measured: Measured
    differences: dict[str, Estimate]


def read_variants(folder: Path, evaluation: Evaluation) -> list[Variant]:
    """What lies in `variants/`, held against the untouched predictions, in a stable order."""
    found = []
    base = Contender("untouched", evaluation.header, evaluation.clips)
    for path in sorted((folder / VARIANTS).glob("*/*.jsonl")):
        header, clips = read_predictions(path)
        kind = path.parent.name
        if kind not in KINDS:
            continue
        level = header.options.get("level")
        told = (
            kind,
            str(header.options.get(kind, path.stem)),
            None if level is None else float(level),
            str(header.options.get("setting", "")),
            header,
        )
        scored = [one for one in clips if one.score is not None]
        if len({one.label for one in scored}) < 2:
            found.append(Variant(*told, len(scored), _nothing(scored), _nothing(scored), {}))
            continue
        both = compare([base, Contender(path.stem, header, clips)], RESAMPLES_BELOW_CLIPS)
        first, second = both.standings
        found.append(
            Variant(*told, both.shared, first.measured, second.measured, second.differences)
        )
    return sorted(found, key=lambda one: (list(KINDS).index(one.kind), one.name, one.level or 0))


def _nothing(scored: Sequence[Prediction]) -> Measured:
    """Stands where too few clips could still be scored, which is a finding and not an error."""
    fakes = sum(one.label for one in scored)
    notes = dict.fromkeys(KEYS, "too few clips could be scored")
    return Measured(fakes, len(scored) - fakes, 0, {}, notes)


def variant_path(folder: Path, kind: str, name: str) -> Path:
    """Where the predictions of a variant lie in an evaluation folder."""
    return folder / VARIANTS / kind / f"{name}.jsonl"
