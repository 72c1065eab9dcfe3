"""Do the heat maps hold? Deletion test and cost of explaining, over labelled clips.

    python -m benchmarks.maps DATA

DATA is a folder with `manifest.csv` (path, label, kind, split); the manipulated clips of its dev
split are explained. Processor time is told, not time on the wall: a busy machine changes it little.
"""

from __future__ import annotations

import csv
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from aura import pipeline
from aura.explain.explainer import Explainer
from aura.report import Report

DRAWS = 2000  # of clips, for the intervals


def main(data: Path) -> None:
    """Explain every manipulated dev clip and print what the tests say."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["kind"] == "video"]
    fakes = [row["path"] for row in rows if row["label"] == "fake" and row["split"] == "dev"]
    per_clip: list[list[tuple[float, float, float, float, bool]]] = []
    shares = []
    for path in fakes:
        report, share = explained(data / path)
        told = report.explanation
        maps = told.maps if told else ()
        shares.append(share)
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
        print(path, len(maps), "maps", found, f"share {share:.3f}", flush=True)
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
    print(f"share of processor time: median {np.median(shares):.3f}, highest {max(shares):.3f}")


def explained(path: Path) -> tuple[Report, float]:
    """The report on a clip, and the share of processor time that explaining it took."""
    spent: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        explainer = _Timed(Path(folder), spent)
        before = time.process_time()
        report = pipeline.analyze(path, explain=explainer)
        whole = time.process_time() - before
    return report, spent["explain"] / whole


class _Timed(Explainer):
    def __init__(self, folder: Path, spent: dict[str, float]) -> None:
        super().__init__(folder)
        self._spent = spent

    def observe(self, chunk):  # type: ignore[no-untyped-def]  # noqa: D102
        before = time.thread_time()
        super().observe(chunk)
        self._spent["explain"] = self._spent.get("explain", 0.0) + time.thread_time() - before

    def explain(self, *arguments):  # type: ignore[no-untyped-def]  # noqa: D102
        before = time.process_time()
        report = super().explain(*arguments)
        self._spent["explain"] = self._spent.get("explain", 0.0) + time.process_time() - before
        return report


if __name__ == "__main__":
    main(Path(sys.argv[1]))
