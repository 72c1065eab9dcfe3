"""The results as Markdown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import clips

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.process import Cost

MB = 1e6


@dataclass(frozen=True)
class Row:
    """One clip: what the analysis took and what decoding alone takes.

    `decoding_alone` is in seconds without the start of Python and PyAV; `bit_rate` in bit/s.
    """

    seconds: int
    bit_rate: float
    runs: int
    analysis: Cost
    decoding: Cost
    decoding_alone: float
    detectors: tuple[str, ...]
    pictures: int


def document(
    rows: Sequence[Row],
    stages: Mapping[str, float],
    eager: Mapping[str, Any] | None,
    machine: str,
    busy: str | None,
) -> str:
    """All results of one run."""
    parts = ["# Speed and memory", _introduction(rows, machine)]
    if busy:
        parts.append(busy)
    parts += [_main_table(rows), "## Where the time goes", _stage_table(stages, rows[0])]
    if eager:
        parts += ["## Beside eager PyTorch, frame by frame", _eager_table(eager, rows[0])]
    return "\n\n".join(parts)


def _introduction(rows: Sequence[Row], machine: str) -> str:
    first = rows[0]
    return (
        "Measured by `make bench` in one run; `make bench BENCH=--write` replaces this page.\n"
        f"{machine}\n\n"
        f"Clips: made by the benchmark, {clips.WIDTH}x{clips.HEIGHT} at {clips.FPS} pictures a "
        f"second, H.264 (x264 {clips.PRESET}, CRF {clips.CRF}) with AAC, "
        f"{first.bit_rate / MB:.1f} Mbit/s, one talking face. Each figure is for a whole process, "
        "from the start of Python to its end: `aura analyze CLIP --json` against a program that "
        "decodes every picture with PyAV on all cores and does nothing else "
        f"(`benchmarks/decode.py`). Median of {first.runs} for the {first.seconds} s clip, one run "
        f"for longer ones. Detectors that ran: {', '.join(first.detectors) or 'none'}."
    )


def _main_table(rows: Sequence[Row]) -> str:
    lines = [
        "| clip | analysis | only decoding | ratio | decoding without start-up | real-time factor "
        "| CPU time, analysis | CPU time, decoding | peak memory |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        wall, floor = row.analysis.wall, row.decoding.wall
        lines.append(
            f"| {_length(row.seconds)} | {wall:.2f} s | {floor:.2f} s | {wall / floor:.1f} "
            f"| {row.decoding_alone:.2f} s | {wall / row.seconds:.3f} | {row.analysis.cpu:.1f} s "
            f"| {row.decoding.cpu:.1f} s | {row.analysis.peak_memory / MB:.0f} MB |"
        )
    return "\n".join(lines)


def _length(seconds: int) -> str:
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"


def _stage_table(stages: Mapping[str, float], row: Row) -> str:
    parts = {n: s for n, s in stages.items() if n not in {"whole analysis", "process", "cpu"}}
    start = stages["process"] - stages["whole analysis"]
    lines = [
        f"One run of the {row.seconds} s clip with a stopwatch around each part "
        "(`benchmarks/stages.py`). Decoding goes on in a thread of its own, so its line is the "
        "time that the analysis waited for it. Tracking and detectors otherwise overlap; under the "
        "stopwatch they take turns, so the whole is longer than above.",
        "",
        "| part | seconds |",
        "| --- | --- |",
        f"| start and end of Python | {start:.2f} |",
    ]
    lines += [f"| {name} | {seconds:.2f} |" for name, seconds in parts.items()]
    return "\n".join([*lines, f"| **whole process** | **{stages['process']:.2f}** |"])


def _eager_table(eager: Mapping[str, Any], row: Row) -> str:
    ours, theirs = row.analysis.wall, eager["process"]
    return "\n".join(
        [
            f"The same {eager['pictures']} sampled pictures of the {row.seconds} s clip the way "
            "detectors are commonly written (`benchmarks/eager.py`): RetinaFace on every whole "
            "picture, then EfficientNet on the aligned face, eager PyTorch, batch 1. RetinaFace "
            "has our weights, and EfficientNet is the lite2 that we ship, with 0.65 billion "
            "multiply-adds a face; the B3 and B7 that such pipelines name need 1.8 billion (at 300 "
            "pixels) and 37 billion (at 600; arXiv:1905.11946). So the ratio shows the way of "
            "running alone and is a lower bound. Ours, in its time, also tracks, listens "
            "for speech, compares lips with voice and writes the report.",
            "",
            "| | whole process | CPU time | RetinaFace | EfficientNet | imports |",
            "| --- | --- | --- | --- | --- | --- |",
            f"| eager, frame by frame | {theirs:.1f} s | {eager['cpu']:.1f} s "
            f"| {eager['RetinaFace']:.1f} s | {eager['EfficientNet']:.1f} s "
            f"| {eager['imports']:.1f} s |",
            f"| `aura analyze` | {ours:.1f} s | {row.analysis.cpu:.1f} s | | | |",
            f"| ratio | {theirs / ours:.1f} | {eager['cpu'] / row.analysis.cpu:.1f} | | | |",
        ]
    )
