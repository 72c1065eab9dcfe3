"""Do the heat maps hold? Deletion test and cost of explaining, over labelled clips.

    python -m benchmarks.maps DATA
    python -m benchmarks.maps --speed      # only what it costs, at 720p, 30 s and 60 s

DATA is a folder with `manifest.csv` (path, label, kind, split); the manipulated clips of its dev
split are explained. Processor time is told, not time on the wall: a busy machine changes it little.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from aura import pipeline
from aura.explain import explainer as steps
from aura.explain import sanity
from aura.explain.explainer import Explainer
from aura.explain.moments import pictures_at
from benchmarks import clips

if TYPE_CHECKING:
    from collections.abc import Callable

    from aura.report import Report

Result = TypeVar("Result")

PARTS = ("explain", "deletion_test", "_picture", "_all_at_once")
SPEED_SECONDS = (30, 60)
DRAWS = 2000  # of clips, for the intervals


def main(data: Path) -> None:
    """Explain every manipulated dev clip and print what the tests say."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "video"]
    fakes = [row["path"] for row in rows if row["label"] == "fake" and row["split"] == "dev"]
    per_clip: list[list[tuple[float, float, float, float, bool]]] = []
    costs = []
    for path in fakes:
        report, spent = explained(data / path)
        told = report.explanation
        maps = told.maps if told else ()
        costs.append(spent)
        per_clip.append(
            [
                (
                    one.deletion.drop,
                    one.deletion.elsewhere_mean,
                    one.deletion.beaten,
                    one.randomised_similarity,
                    one.reliable,
                )
                for one in maps
            ]
        )
        found = np.array(per_clip[-1], float).reshape(-1, 5).mean(axis=0).round(2).tolist()
        shown = " ".join(f"{name} {share:.3f}" for name, share in spent.items())
        print(path, len(maps), "maps", found, shown, flush=True)
    kept = [np.array(one, float) for one in per_clip if one]
    gain = np.array([(one[:, 0] - one[:, 1]).mean() for one in kept])
    beaten = np.array([one[:, 2].mean() for one in kept])
    random = np.random.default_rng(0)
    picks = random.integers(0, len(kept), (DRAWS, len(kept)))
    for name, values in (("drop beyond random (logits)", gain), ("regions beaten", beaten)):
        low, high = np.quantile(values[picks].mean(axis=1), [0.025, 0.975])
        print(f"{name}: {values.mean():.3f} [{low:.3f}, {high:.3f}] over {len(kept)} clips")
    everything = np.concatenate(kept)
    print(f"maps {len(everything)}, held both tests {everything[:, 4].mean():.2f}")
    print(f"similarity with shuffled layer {everything[:, 3].mean():.3f}")
    for name in costs[0]:
        spent_on = [one[name] for one in costs]
        print(
            f"share of processor time, {name}: median {np.median(spent_on):.3f}, "
            f"highest {max(spent_on):.3f}"
        )


def explained(path: Path) -> tuple[Report, dict[str, float]]:
    """The report on a clip, and shares of the analysis' processor time that explaining took.

    `maps`: network, Grad-CAM and drawing; `pictures` decoded again; `tests` of the maps; `files`
    encoded. The analysis is everything else.
    """
    with tempfile.TemporaryDirectory() as folder:
        explainer = _Timed(Path(folder))
        kept = sanity.deletion_test, pictures_at
        sanity.deletion_test = explainer.timed(sanity.deletion_test)
        steps.pictures_at = explainer.timed(_all_at_once)  # type: ignore[attr-defined]
        before = time.process_time()
        report = pipeline.analyze(path, explain=explainer)
        whole = time.process_time() - before
        sanity.deletion_test, steps.pictures_at = kept  # type: ignore[attr-defined]
    spent = explainer.spent
    analysis = whole - spent["explain"]
    return report, {
        "maps": (2 * spent["explain"] - sum(spent.values())) / analysis,
        "pictures": spent["_all_at_once"] / analysis,
        "tests": spent["deletion_test"] / analysis,
        "files": spent["_picture"] / analysis,
    }


def _all_at_once(*arguments: Any, **named: Any) -> Any:
    """The few pictures, decoded now and not while the caller takes them: so they can be timed."""
    return iter(list(pictures_at(*arguments, **named)))


class _Timed(Explainer):
    """An explainer that knows what its parts cost."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.spent = dict.fromkeys(PARTS, 0.0)
        self.explain = self.timed(self.explain)  # type: ignore[method-assign]
        self._picture = self.timed(self._picture)  # type: ignore[method-assign]

    def timed(self, call: Callable[..., Result]) -> Callable[..., Result]:
        """The same function; its processor time is added up under its name."""

        def run(*arguments: Any, **named: Any) -> Result:
            before = time.process_time()
            try:
                return call(*arguments, **named)
            finally:
                self.spent[call.__name__] += time.process_time() - before

        return run


def speed() -> None:
    """Print what explaining costs on the clips of `benchmarks.clips`, in shares of an analysis."""
    explained(clips.clip(SPEED_SECONDS[0]))  # opens the networks, which others need as well
    for seconds in SPEED_SECONDS:
        _, spent = explained(clips.clip(seconds))
        shown = ", ".join(f"{name} {share:.1%}" for name, share in spent.items())
        print(f"720p, {seconds} s: {shown}, all {sum(spent.values()):.1%}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:] == ["--speed"]:
        speed()
    else:
        main(Path(sys.argv[1]))
