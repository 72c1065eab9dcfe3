"""A profile over labelled clips: reports become predictions."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.batch import ResultsFile, Settings, read_reports, run_batch
from aura.evaluation.predictions import (
    FoundSegment,
    Frame,
    Prediction,
    PredictionsFile,
    TrueSegment,
    Window,
    label_within,
    visual_label_within,
)
from aura.evaluation.robustness import options_of, treatment
from aura.evaluation.variants import variant_path
from aura.pipeline import SUBJECT_MODELS, analyze
from aura.profiles import chosen
from aura.runtime import model_card
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aura.batch import Outcome as FileOutcome
    from aura.evaluation.clips import LabelledClip
    from aura.evaluation.predictions import Header
    from aura.report import Report

    # A clip and a scratch folder to a changed copy of the clip.
    Treatment = Callable[[Path, Path], Path]


MOMENT = 1e-6  # seconds; how long a picture is looked at when asked whether it is manipulated


@dataclass(frozen=True)
class ProfileRun:
    """Which profile judges, where, and who is told of progress.

    `bars` is what `cli.progress_bars` gives. `name` is shown before the clip's own. `without` are
    detectors that are switched off.
    """

    profile: str
    device: str
    bars: Any
    name: str = ""
    without: tuple[str, ...] = ()

    @property
    def settings(self) -> Settings:
        """What the reports depend on."""
        return Settings(self.profile, without=self.without)


def model_sha256(profile: str, without: tuple[str, ...] = ()) -> str:
    """SHA-256 over a profile's settings and the weights that it names."""
    loaded = chosen(profile, without=without)
    lines = [f"config:{loaded.config_sha256}"]
    lines += [
        f"{name}:{model_card(name).sha256}" for name in sorted({*SUBJECT_MODELS, *loaded.models})
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def predict(
    clips: Sequence[LabelledClip],
    root: Path,
    run: ProfileRun,
    *,
    out: PredictionsFile | None = None,
    jsonl: Path | None = None,
    treatment: Treatment | None = None,
) -> list[Prediction]:
    """Judge clips; what is in `out` or `jsonl` already is not judged again.

    Args:
        clips: with known answers. root: their paths are told relative to it.
        out: where predictions go. jsonl: where whole reports go.
        treatment: makes a changed copy, which is judged instead and then deleted.

    Raises:
        AuraError: what no further clip would escape (weights, options, a full disk), or Ctrl-C.
    """
    done: dict[str, Prediction] = {}
    waiting: dict[Path, LabelledClip] = {}
    for clip in clips:
        earlier = out.done.get(name_of(clip, root)) if out else None
        if earlier is not None and earlier.stamp == stamp_of(clip.path):
            now = with_truth(earlier, clip)  # answers in the manifest may have been mended
            if now != earlier and out:
                out.add(now)
            done[now.path] = now
        else:
            waiting[clip.path] = clip

    def keep(clip: LabelledClip, report: Mapping[str, Any] | None, error: str | None) -> None:
        one = prediction_of(clip, root, report, error)
        if treatment is not None:
            one = replace(one, sha256=clip.sha256)  # of the clip, not of its changed copy
        done[one.path] = one
        if out:
            out.add(one)

    def tell(outcome: FileOutcome, _line: str | None) -> None:
        if not outcome.skipped:
            report = outcome.report.model_dump(mode="json") if outcome.report else None
            keep(waiting.pop(outcome.path), report, outcome.error)

    files = list(waiting)

    def judge(path: Path) -> Report:
        number = f"[{files.index(path) + 1}/{len(files)}] {run.name} {path.name}"
        hook = run.bars.begin(" ".join(number.split()))
        if treatment is None:
            return analyze(
                path, profile=run.profile, device=run.device, hook=hook, without=run.without
            )
        with TemporaryDirectory(prefix="aura-evaluate-") as scratch:
            changed = treatment(path, Path(scratch))
            return analyze(
                changed, profile=run.profile, device=run.device, hook=hook, without=run.without
            )

    with ExitStack() as stack:
        results = stack.enter_context(ResultsFile(jsonl)) if jsonl else None
        run_batch(files, judge, run.settings, results=results, on_outcome=tell)
    kept = read_reports(jsonl, run.settings) if jsonl and waiting else {}
    for path, clip in list(waiting.items()):
        report = kept.get(path)
        keep(clip, report, None if report else "failed in an earlier run")
    return [done[name_of(clip, root)] for clip in clips]


def predict_perturbed(
    clips: Sequence[LabelledClip],
    root: Path,
    run: ProfileRun,
    header: Header,
    out: Path,
    *,
    perturbations: Sequence[tuple[str, int]],
) -> None:
    """Judge the same clips under each perturbation (of `robustness.chosen`), into files of their
    own in the evaluation folder `out`; what is there already is kept.
    """
    for name, level in perturbations:
        changed = replace(header, options=options_of(name, level))
        told = replace(run, name=f"{name} {level}" if level else name)
        path = variant_path(out, "robustness", f"{name}-{level}" if level else name)
        with PredictionsFile(path, changed) as file:
            predict(clips, root, told, out=file, treatment=treatment(name, level))


def name_of(clip: LabelledClip, root: Path) -> str:
    """The clip's path relative to the data set, as JSON can hold it."""
    path = clip.path.relative_to(root) if clip.path.is_relative_to(root) else clip.path
    return path.as_posix().encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def stamp_of(path: Path) -> tuple[int, int] | None:
    """Size and time of change, by which a file is known to be the same one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def with_truth(prediction: Prediction, clip: LabelledClip) -> Prediction:
    """The prediction with what is known of the clip filled in."""
    known = replace(
        prediction,
        label=clip.label,
        visual=clip.visual,
        audio=clip.audio,
        method=clip.method,
        source=clip.source,
        group=clip.group,
        identity=clip.identity,
        split=clip.split,
        sha256=prediction.sha256 or clip.sha256,
        subgroups=dict(clip.subgroups),
        segments_true=None
        if clip.segments is None
        else tuple(TrueSegment(*one) for one in clip.segments),
    )
    return replace(
        known,
        windows=tuple(
            one._replace(label=label_within(known.label, known.segments_true, one.start, one.end))
            for one in known.windows
        ),
        frames=tuple(
            one._replace(label=visual_label_within(known, one.time, one.time + MOMENT))
            for one in known.frames
        ),
    )


def prediction_of(
    clip: LabelledClip, root: Path, report: Mapping[str, Any] | None, error: str | None
) -> Prediction:
    """What a report (as its JSON object) says about a clip, or why there is none.

    Detectors, frames and stretches are those of the person who decided the verdict. Windows are
    means of the frame scores: a report's own windows belong to single detectors.
    """
    bare = Prediction(name_of(clip, root), clip.label, stamp=stamp_of(clip.path), error=error)
    if report is None:
        return with_truth(bare, clip)
    said = report["prediction"]
    mine = (said["decisive_subject"], None)
    frames = [
        Frame(one["timestamp"], one["score"], None)
        for one in said["frame_scores"]
        if one["subject"] in mine
    ]
    interval = said["confidence_interval"]
    prediction = replace(
        bare,
        sha256=report["provenance"]["input"]["sha256"],
        score=said["manipulation_confidence"],
        interval=(interval["low"], interval["high"]) if interval else None,
        decision=said["overall_class"],
        windows=_windows(frames),
        frames=tuple(frames),
        segments_found=tuple(
            FoundSegment(one["modality"], one["start"], one["end"], one["score"])
            for one in said["segments"]
            if one["subject"] in mine
        ),
        detectors={
            entry["name"]: float(entry["logit"])
            for entry in report["detectors"]
            if entry["status"] == "ok" and entry["subject"] in mine
        },
    )
    return with_truth(prediction, clip)


def _windows(frames: Sequence[Frame]) -> tuple[Window, ...]:
    if not frames:
        return ()
    times = np.array([one.time for one in frames])
    scores = np.array([one.score for one in frames])
    found = SlidingWindows().gather(times, scores, float(times[0]), float(times[-1]))
    return tuple(Window(one.start, one.end, one.score, None) for one in found)
