"""What the detector says under music, voice-over, dubbing and compression, person held out.

Mouths are read once from each clip; sounds are laid under them and judged by the detector itself,
abstentions and all, with a projection that was fitted without the person. Faces that don't speak
in their own clip stand for a listener or an actor without lines; recordings of other people are
the voice from elsewhere.
"""

from __future__ import annotations

import csv
import re
import zlib
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aura import media
from aura.detectors.base import Chunk, Evidence, FaceTrack, Sound
from aura.detectors.sync import MODEL, SyncDetector
from aura.evaluation.recode import with_pictures
from aura.metrics import share_interval
from aura.runtime import Model, load_model
from aura.speech import SpeechDetector
from aura.subjects import SubjectTracker
from aura.training.augment.codecs import through_codec
from aura.training.sync.damage import with_babble, with_music
from aura.training.sync.evaluate import chosen, speaks
from aura.training.sync.fit import Fit, fit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.faces import FaceDetector
    from aura.training.sync.features import Clip

    Samples = NDArray[np.float32]

SAMPLE_RATE = 16_000
OFFSETS = (-1.0, -0.8, -0.6, -0.4, 0.4, 0.6, 0.8, 1.0)  # seconds by which sound is moved
CLOSE = 0.1  # seconds by which an estimated offset may be off
MUSIC_DB = (10, 5, 0)  # the voice is louder than the music by so much
VOICES = 3  # other people's voices laid under each face
CRFS = (32, 40)


@dataclass(frozen=True)
class Footage:
    """One clip's mouths as the detector is given them, and its own sound (n,) if any."""

    name: str
    method: str
    group: str
    tracks: tuple[FaceTrack, ...]
    samples: Samples

    @property
    def seconds(self) -> float:
        """Until the last mouth."""
        return float(max((t.mouth_times[-1] for t in self.tracks if len(t.mouth_times)), default=0))


class Fitted:
    """A fit in the place of the shipped network."""

    def __init__(self, found: Fit) -> None:
        self._fit = found

    def run(self, inputs: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """As `sync-cca.onnx`."""
        return {
            "lip_components": inputs["lips"] @ self._fit.lips,
            "sound_components": inputs["sound"] @ self._fit.sound,
        }


def footage(path: Path, row: dict[str, str], faces: FaceDetector) -> Footage:
    """Read mouths and sound of a file by the pipeline's own modules; `row` is the manifest's."""
    source = media.probe(path)
    tracker = SubjectTracker(faces, SpeechDetector(device="cpu") if source.audio else None)
    tracks: list[FaceTrack] = []
    samples: list[Samples] = []
    with closing(media.decode(source)) as decoded:
        for chunk in tracker.follow(decoded):
            tracks += [_without_face(track) for track in chunk.tracks]
            if chunk.sound is not None and len(chunk.sound.samples):
                if not samples and chunk.sound.start > 0:
                    samples.append(np.zeros(round(chunk.sound.start * SAMPLE_RATE), np.float32))
                samples.append(chunk.sound.samples)
    sound = np.concatenate([np.zeros(0, np.float32), *samples])
    return Footage(name_of(row), row["method"], row["group"], tuple(tracks), sound)


def name_of(row: dict[str, str]) -> str:
    """A clip's name without folder and ending."""
    return row["path"].rsplit("/", 1)[-1].removesuffix(".mp4")


def _without_face(track: FaceTrack) -> FaceTrack:
    return replace(track, crops=track.crops[:0], boxes=track.boxes[:0])


def judge(shown: Footage, samples: Samples, model: Model) -> Evidence:
    """What the detector says of the most visible person beside a sound."""
    speech = SpeechDetector(device="cpu")
    spoken = np.concatenate([speech.feed(samples), speech.finish()])
    detector = SyncDetector(model, device="cpu")
    for track in shown.tracks:
        detector.observe(Chunk(0.0, 0.0, (track,), None))
    detector.observe(Chunk(0.0, shown.seconds, (), Sound(0.0, samples, spoken)))
    seen = max(shown.tracks, key=lambda track: len(track.mouth_times)).subject
    return next(one for one in detector.conclude() if one.subject in (seen, None))


@dataclass(frozen=True)
class Trial:
    """One judgement: under which condition, of whom, and by how much the sound was moved."""

    condition: str
    group: str
    found: Evidence
    moved: float | None = None

    @property
    def alarm(self) -> bool:
        """Whether it counts towards manipulation."""
        return self.found.status == "ok" and self.found.weight > 0


class Bench:
    """All clips with their mouths, and for each group of people a projection that never saw it.

    Args:
        clips: of `features.read_clips`: what is fitted on. shown: of every real clip.
        voices: recordings of others, (n,) each.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        shown: Sequence[Footage],
        voices: Sequence[Samples],
        config: dict[str, Any],
    ) -> None:
        real, extra = chosen(clips, config)
        pool = [*real, *extra]
        card = load_model(MODEL, "cpu").card
        fitted = {clip.group for clip in pool}
        whole = Fitted(fit(pool, config))
        self._models = {
            shot.group: Model(
                card,
                Fitted(fit([c for c in pool if c.group != shot.group], config))
                if shot.group in fitted
                else whole,
            )
            for shot in shown
        }
        talking = {clip.name for clip in real}
        self.speaking = [shot for shot in shown if shot.name in talking]
        heard = {clip.name for clip in clips if speaks(clip, 0.1, 0.5)}
        talkers = "|".join(map(re.escape, config["silent_talkers"]))
        silent = [shot for shot in shown if shot.name not in heard]
        # Some tracks are silent though the face talks.
        self.mute = [shot for shot in silent if re.search(talkers, shot.method)]
        self.quiet = [shot for shot in silent if shot not in self.mute]
        self._voices = voices

    def trial(
        self, condition: str, shot: Footage, samples: Samples, moved: float | None = None
    ) -> Trial:
        """Judge one face beside one sound."""
        return Trial(condition, shot.group, judge(shot, samples, self._models[shot.group]), moved)

    def voice_for(self, shot: Footage, number: int) -> Samples:
        """Somebody else's speech, as long as the clip."""
        random = np.random.default_rng(zlib.crc32(f"{shot.name}:{number}".encode()))
        parts: list[Samples] = []
        first = int(random.integers(len(self._voices)))
        wanted = round(shot.seconds * SAMPLE_RATE)
        # Neighbours in the list are mostly of one speaker.
        while sum(map(len, parts)) < wanted:
            parts.append(self._voices[(first + len(parts)) % len(self._voices)])
        return np.concatenate(parts)[:wanted]

    def own_sound(self) -> list[Trial]:
        """Speaking real clips with their own sound, changed on its way."""
        ways: dict[str, Callable[[Footage], Samples]] = {"own sound": lambda s: s.samples}
        for decibels in MUSIC_DB:
            ways[f"music {decibels} dB below the voice"] = lambda s, d=decibels: with_music(  # type: ignore[misc]
                s.samples, d, zlib.crc32(s.name.encode())
            )
        others = [s.samples for s in self.speaking]
        ways["other people talking 5 dB below"] = lambda s: with_babble(
            s.samples, [x for x in others if x is not s.samples][:4], 5
        )
        ways["sound as AAC at 32 kb/s"] = lambda s: through_codec(s.samples, "aac", 32_000)
        ways["sound as Opus at 16 kb/s"] = lambda s: through_codec(s.samples, "opus", 16_000)
        ways["sound behind a telephone's band"] = lambda s: through_codec(s.samples, "mu-law")
        return [
            self.trial(name, shot, way(shot))
            for name, way in ways.items()
            for shot in self.speaking
        ]

    def recompressed(
        self, data: Path, rows: Sequence[dict[str, str]], faces: FaceDetector, out: Path
    ) -> list[Trial]:
        """Speaking real clips whose pictures went through H.264 once more."""
        found = []
        talking = {shot.name for shot in self.speaking}
        for crf in CRFS:
            for row in (row for row in rows if name_of(row) in talking):
                copy = with_pictures(data / row["path"], out / f"{name_of(row)}.mkv", None, crf)
                again = footage(copy, row, faces)
                copy.unlink()
                found.append(self.trial(f"pictures at CRF {crf}", again, again.samples))
        return found

    def elsewhere(self) -> list[Trial]:
        """Voices from elsewhere, and music without a voice."""
        found = []
        for number in range(VOICES):
            for shot in self.quiet:
                voice = self.voice_for(shot, number)
                found.append(self.trial("voice-over: the face does not talk", shot, voice))
            for shot in (*self.speaking, *self.mute):
                voice = self.voice_for(shot, number)
                found.append(self.trial("dubbed: the face talks", shot, voice))
        for shot in (*self.quiet, *self.mute, *self.speaking):
            silence = np.zeros(round(shot.seconds * SAMPLE_RATE), np.float32)
            music = with_music(silence, 0, zlib.crc32(shot.name.encode()))
            found.append(self.trial("music and no voice", shot, music))
        return found

    def moved(self) -> list[Trial]:
        """Sound moved by a known time; picture and sound keep their lengths."""
        return [
            self.trial(
                f"sound moved by {abs(seconds):g} s", shot, _moved(shot.samples, seconds), seconds
            )
            for seconds in OFFSETS
            for shot in self.speaking
        ]


def _moved(samples: Samples, seconds: float) -> Samples:
    count = round(abs(seconds) * SAMPLE_RATE)
    silence = np.zeros(count, np.float32)
    if seconds > 0:
        return np.concatenate([silence, samples[:-count]])
    return np.concatenate([samples[count:], silence])


def summary(trials: Sequence[Trial]) -> dict[str, Any]:
    """By condition: shares not judged, of alarms, and of offsets that were told right."""
    result: dict[str, Any] = {}
    for name in dict.fromkeys(one.condition for one in trials):
        mine = [one for one in trials if one.condition == name]
        judged = [one for one in mine if one.found.status == "ok"]
        entry: dict[str, Any] = {
            "clips": len(mine),
            "people": len({one.group for one in mine}),
            "not judged": _share(len(mine) - len(judged), len(mine)),
            "alarms of all": _share(sum(one.alarm for one in mine), len(mine)),
            "alarms of the judged": _share(sum(one.alarm for one in mine), len(judged)),
        }
        told = [one for one in judged if one.moved is not None]
        if told:
            known = [one.found.details.get("offset_seconds") for one in told]
            close = [
                value is not None and abs(value - (one.moved or 0.0)) <= CLOSE + 1e-6
                for one, value in zip(told, known, strict=True)
            ]
            entry[f"offset within {CLOSE:g} s, of the judged"] = _share(sum(close), len(close))
        result[name] = entry
    return result


def _share(hits: int, count: int) -> dict[str, Any]:
    if count == 0:
        return {"share": None, "n": 0}
    one = share_interval(hits, count)
    interval = [round(one.low, 3), round(one.high, 3)]
    return {"share": round(one.value, 3), "interval_95": interval, "n": count}


def markdown(figures: dict[str, Any]) -> str:
    """The table for the card."""
    lines = [
        "| condition | clips / people | not judged | alarms, of all | alarms, of the judged | "
        f"offset within {CLOSE:g} s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, entry in figures.items():
        cells = [
            _cell(entry[key]) for key in ("not judged", "alarms of all", "alarms of the judged")
        ]
        offset = entry.get(f"offset within {CLOSE:g} s, of the judged")
        cells.append(_cell(offset) if offset else "")
        lines.append(
            f"| {name} | {entry['clips']} / {entry['people']} | " + " | ".join(cells) + " |"
        )
    return "\n".join(lines) + "\n"


def _cell(share: dict[str, Any]) -> str:
    if share["share"] is None:
        return "n/a"
    low, high = share["interval_95"]
    return f"{share['share']:.0%} [{low:.0%}-{high:.0%}] of {share['n']}"


def real_clips(data: Path) -> list[dict[str, str]]:
    """Rows of the real dev clips, with sound or without."""
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [row for row in rows if row["kind"] == "video" and row["label"] == "real"]
