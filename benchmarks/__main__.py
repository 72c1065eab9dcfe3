"""`python -m benchmarks`, or `make bench`: measure, and print one Markdown document.

--quick   30 s clip only, one run of each, no comparison in eager PyTorch
--write   also replace docs/benchmarks.md
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from aura.report import Report
from benchmarks import clips, machine, table
from benchmarks.process import measure, measure_in_turn

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
SHORT, MINUTE, LONG = 30, 60, 600  # seconds
RUNS = 5  # of the short clip, whose start-up matters; longer ones run once


def measure_clip(seconds: int, runs: int) -> table.Row:
    """Analyse one clip and decode it only, each as a whole process.

    Raises:
        CommandFailed: one of them failed.
        ValueError: the analysis did not see one speaking face, so it is not what is to be measured.
    """
    clip = clips.clip(seconds)
    _say(f"{seconds} s clip: decoding and analysing, {runs} x")
    floor, whole = measure_in_turn(
        [
            [sys.executable, str(HERE / "decode.py"), str(clip)],
            [sys.executable, "-m", "aura", "analyze", "--json", str(clip)],
        ],
        runs,
    )
    report = Report.model_validate_json(whole.output)
    if len(report.subjects) != 1:
        raise ValueError(f"{clip} shows {len(report.subjects)} people to the analysis, not one")
    ran = sorted({entry.name for entry in report.detectors if entry.status == "ok"})
    return table.Row(
        seconds=seconds,
        bit_rate=clip.stat().st_size * 8 / seconds,
        runs=runs,
        analysis=whole,
        decoding=floor,
        decoding_alone=float(floor.output.split()[0]),
        detectors=tuple(ran),
        pictures=report.metadata.frames_analyzed,
    )


def _json_of(module: str, clip: Path) -> dict[str, Any]:
    cost = measure([sys.executable, "-m", f"benchmarks.{module}", str(clip)])
    found: dict[str, Any] = json.loads(cost.output)
    return {**found, "process": cost.wall, "cpu": cost.cpu}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="30 s clip only, one run of each")
    parser.add_argument("--write", action="store_true", help=f"also write {DOCUMENT.name}")
    options = parser.parse_args()
    busy = machine.busy()
    _say("making the clips (kept for the next run)")
    lengths = [SHORT] if options.quick else [SHORT, MINUTE, LONG]
    for seconds in lengths:
        clips.clip(seconds)
    rows = [
        measure_clip(seconds, RUNS if seconds == SHORT and not options.quick else 1)
        for seconds in lengths
    ]
    _say("where the time goes")
    stages = _json_of("stages", clips.clip(SHORT))
    eager = None
    if not options.quick:
        _say("the same pictures in eager PyTorch, frame by frame")
        eager = _json_of("eager", clips.clip(SHORT))
    text = table.document(rows, stages, eager, machine.describe(), busy)
    print(text)
    if options.write:
        DOCUMENT.write_text(text + "\n", encoding="utf-8")
        _say(f"written to {DOCUMENT}")


if __name__ == "__main__":
    main()
