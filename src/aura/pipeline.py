"""One journey from a file to a report, in five steps; everything else calls `analyze`.

media     probe, hash, decode once
subjects  faces found, tracked and aligned; speech found
evidence  each detector scores one-second windows, or says why it can't
verdict   calibration, fusion, reject option, interval
report    one typed document
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Protocol

from aura import credentials, findings, kinds, media, pictures
from aura.background import run_ahead
from aura.detectors.base import Chunk, Detector
from aura.detectors.registry import cuts_for, open_detectors, wants_heads
from aura.faces import FaceDetector
from aura.fusion import NO_FACE, Subject, decide
from aura.profiles import DEFAULT_PROFILE, Profile, chosen
from aura.report import (
    AudioStream,
    Decoding,
    InputFile,
    Provenance,
    Report,
    VideoStream,
)
from aura.runtime import ModelCard, cpu_threads, import_engine, load_model, resolve_device
from aura.speech import SpeechDetector
from aura.subjects import FacesMode, SubjectTracker
from aura.versions import ffmpeg_versions

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path


# hook(stage, completed, total): stages `probe`, `analyse` (in seconds of the clip; total None when
# the file does not say how long it is), `verdict`, and `explain` (in moments) where it is asked
# for. An exception from it stops the analysis.
Hook = Callable[[str, float, float | None], None]


class Watcher(Protocol):
    """Watches one analysis and draws what it shows; `aura.explain.explainer` is one."""

    def observe(self, chunk: Chunk) -> None:
        """Remember what is needed of a chunk."""

    def explain(
        self,
        report: Report,
        source: media.MediaInfo,
        profile: Profile,
        tell: Callable[[float, float], None],
    ) -> Report:
        """The report with what was drawn; no number of the verdict is another."""


AHEAD_BYTES = 64 * 2**20  # of a chunk that waits for the detectors; one always may

SUBJECT_MODELS = ("retinaface-mobilenet", "silero-vad")


def analyze(
    path: str | Path,
    *,
    profile: str = DEFAULT_PROFILE,
    faces: FacesMode | None = None,
    fps: float | None = None,
    device: str = "auto",
    hook: Hook | None = None,
    explain: Watcher | None = None,
    without: Sequence[str] = (),
    false_alarms: float | None = None,
) -> Report:
    """Analyse one file.

    Args:
        path: a local file: a video, a single picture, or sound alone. Detectors that it gives
            nothing to look at are `not_applicable`; a picture alone is never called real or fake.
        profile: which detectors run and how much each counts.
        faces: `all` judges every tracked person; `single` skips pictures with several faces; by
            default what the profile says.
        fps: sampled pictures a second; 5 by default, 10 for input of 1080 lines and more.
        device: `auto`, `cpu` or `cuda`.
        hook: told of progress.
        explain: draws why; the verdict's numbers are the same with and without it.
        without: detectors to switch off.
        false_alarms: share of genuine clips that may at most be called manipulated, one of the
            profile's levels; None: its own threshold.

    Raises:
        InputError: the file can't be analysed. WeightsError: a model is missing or altered.
        UsageError: an option makes no sense.
    """
    tell = hook or _silent
    started_at, began = datetime.now(UTC), time.perf_counter()
    settings = chosen(profile, without=without, false_alarms=false_alarms)
    faces = faces or settings.faces
    device = resolve_device(device)
    tell("probe", 0.0, 1.0)
    source = media.examine(path)
    tell("probe", 1.0, 1.0)

    names = kinds.models_for(settings, source.kind)
    rate, log = fps or media.sample_rate_of(source.video), media.DecodeLog()
    import_engine(device)
    with ThreadPoolExecutor(cpu_threads(), "aura-evidence") as pool:
        # The detectors' networks are opened beside those that find people, and while the first
        # chunk is made; detectors look at a chunk together.
        opening = pool.submit(open_detectors, names, device, rate)
        tracker = SubjectTracker(
            FaceDetector(device=device),
            SpeechDetector(device=device) if source.audio else None,
            faces,
            pictures=source.video is not None,
            cuts=cuts_for(names),
            heads=wants_heads(names),
        )
        with closing(chunks_ahead(tracker, source, fps, log)) as chunks:
            for chunk in chunks:
                show(chunk, opening.result(), pool)
                if explain is not None:
                    explain.observe(chunk)
                tell("analyse", chunk.end, source.duration)

        tell("verdict", 0.0, 1.0)
        found = pool.map(lambda detector: detector.conclude(), opening.result())
        evidence = [item for items in found for item in items]
    evidence += kinds.left_out(settings, source.kind)
    rules, nobody = kinds.rules_for(settings, source.kind), why_nobody(tracker, source.kind)
    verdict = decide(evidence, subjects_of(tracker), rules, seed=source.sha256, nobody=nobody)
    verdict = kinds.reserved(verdict, source.kind, nobody)
    run = findings.Run(
        started_at=started_at,
        finished_at=datetime.now(UTC),
        processing_time=time.perf_counter() - began,
        frames_analyzed=tracker.tally.sampled,
        last_time=tracker.end,
        device=device,
        models=used_models(names, device),
        without=tuple(without),
        false_alarms=false_alarms,
    )
    report = findings.build(verdict, settings, provenance_of(source, log, tracker, fps, faces), run)
    tell("verdict", 1.0, 1.0)
    if explain is not None:
        report = explain.explain(report, source, settings, partial(tell, "explain"))
    return report


def _silent(stage: str, completed: float, total: float | None) -> None:
    del stage, completed, total


def show(chunk: Chunk, detectors: Iterable[Detector], pool: ThreadPoolExecutor) -> None:
    """Let all detectors look at a chunk, side by side; raises what one of them raised."""
    for _ in pool.map(lambda detector: detector.observe(chunk), detectors):
        pass


def chunks_ahead(
    tracker: SubjectTracker, source: media.MediaInfo, fps: float | None, log: media.DecodeLog
) -> Generator[Chunk, None, None]:
    """The clip's chunks; the next one is made in a thread while detectors look at this one."""

    def follow() -> Iterator[Chunk]:
        with closing(media.decode(source, fps=fps, log=log)) as decoded:
            yield from tracker.follow(decoded)

    return run_ahead(
        follow(), max_items=1, max_bytes=AHEAD_BYTES, size_of=Chunk.size_bytes, name="aura-subjects"
    )


def subjects_of(tracker: SubjectTracker) -> list[Subject]:
    """The tracked people as the verdict needs them."""
    return [
        Subject(
            id=person.id,
            first_time=person.first_time,
            last_time=person.last_time,
            faces=person.faces,
            quality=person.quality,
            size=person.size,
            wear=person.wear,
        )
        for person in tracker.people
    ]


def why_nobody(tracker: SubjectTracker, kind: media.MediaKind = "video") -> str:
    """Why nobody was tracked, where nobody was."""
    if kind == "audio":
        return kinds.WHY_NOT[kind]
    if tracker.tally.with_several:
        return "Pictures with several faces were skipped; `--faces all` judges everybody."
    return NO_FACE


def used_models(models: Iterable[str], device: str) -> tuple[ModelCard, ...]:
    """Cards of all networks that take part: those of the detectors, and those that find people."""
    names: Iterable[str] = dict.fromkeys((*SUBJECT_MODELS, *models))
    return tuple(load_model(name, device).card for name in names)


def provenance_of(
    source: media.MediaInfo,
    log: media.DecodeLog,
    tracker: SubjectTracker,
    fps: float | None,
    faces: FacesMode,
) -> Provenance:
    """What was analysed and how it was decoded, as the report states it."""
    video, audio = source.video, source.audio
    notes = source.notes
    if faces == "single" and tracker.tally.with_several:
        notes += (
            f"{tracker.tally.with_several} of {tracker.tally.sampled} sampled pictures show "
            "several faces and were skipped.",
        )
    return Provenance(
        input=InputFile(
            name=source.path.name,
            path=str(source.path),
            sha256=source.sha256,
            size_bytes=source.size_bytes,
            container=source.container,
            duration_sec=source.duration,
            kind=source.kind,
        ),
        video=None
        if video is None
        else VideoStream(
            codec=video.codec,
            width=video.width,
            height=video.height,
            rotation=video.rotation,
            fps=video.fps,
            frames=video.frames,
            pixel_format=video.pixel_format,
            bit_rate=video.bit_rate,
        ),
        audio=None
        if audio is None
        else AudioStream(
            codec=audio.codec,
            sample_rate=audio.sample_rate,
            channels=audio.channels,
            bit_rate=audio.bit_rate,
            start_sec=audio.start,
        ),
        decoding=Decoding(
            sampling_fps=fps or media.sample_rate_of(video),
            max_side=pictures.MAX_SIDE,
            faces=faces,
            undecodable_packets=log.bad_packets,
            corrupt_pictures=log.corrupt_pictures,
            repaired_timestamps=log.repaired_timestamps,
            sound_gaps=log.sound_gaps,
            truncated=log.truncated,
            libraries=ffmpeg_versions(),
            notes=notes,
        ),
        frame_checksums=findings.frame_checksums(tracker.tally.checksums),
        c2pa=credentials.examine(source.path, source.container),
    )
