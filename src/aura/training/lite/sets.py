"""The changed copies of labelled clips that the card is measured on, one folder a set.

Every folder holds a `manifest.csv` as `aura evaluate` reads it. A copy keeps group and source of
the clip that it was made of, so that splits by source hold for copies as well. The same seed makes
the same copies.
"""

from __future__ import annotations

import csv
import json
import zlib
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura import media
from aura.evaluation.clips import MANIFEST
from aura.evaluation.perturbations import PERTURBATIONS
from aura.evaluation.recode import with_pictures, with_sound
from aura.faces import FaceDetector
from aura.speech import BLOCK, SAMPLE_RATE
from aura.training.augment.codecs import through_codec
from aura.training.lite.partial import (
    CRF,
    MOUTHS,
    PRESET,
    donor_faces,
    heard_in,
    overdubbed,
    replace_face,
    revoiced,
    spoken,
)
from aura.training.lite.photos import film

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.evaluation import LabelledClip

    Image = NDArray[np.uint8]
    Samples = NDArray[np.float32]
    Made = tuple[Path, LabelledClip, str, list[tuple[str, float, float]]]

PART = (2.0, 4.0)  # seconds of a replaced stretch
LEAST_LENGTH = 5.0  # seconds of a clip in which a stretch is replaced
LEAST_SPEECH = 0.6  # share of a stretch in which somebody must speak for its voice to be replaced
FOREIGN = 0.5  # share of replaced faces that are another person's; else the face itself, changed
VOICES = 2  # stretches of a clip whose voice is replaced, one after the other
NOISE_DB = 15.0

FACE_PART, VOICE_PART, DUB_PART = "face_part", "voice_part", "dub_part"
FACE_WHOLE, VOICE_WHOLE, DUB_WHOLE = "face_whole", "voice_whole", "dub_whole"
MOUTH_WHOLE = "mouth_whole"
PHOTOGRAPHS = "photographs"
FAKES = (FACE_PART, VOICE_PART, DUB_PART, FACE_WHOLE, MOUTH_WHOLE, VOICE_WHOLE, DUB_WHOLE)
WHOLE_VOICES = (VOICE_WHOLE, DUB_WHOLE)
# Sets whose pictures are those of the clips that they were made of.
SOUND_ONLY = (VOICE_PART, DUB_PART, *WHOLE_VOICES, "noise", "aac", "opus", "phone")
MADE_OF = "made_of"  # column that names that clip


def _half(image: Image) -> Image:
    height, width = image.shape[:2]
    size = (width // 4 * 2, height // 4 * 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _noise(samples: Samples) -> Samples:
    change = PERTURBATIONS["sound-noise"].sound
    assert change is not None  # noqa: S101
    return change(samples, NOISE_DB, np.random.default_rng(0))


def _hidden(source: Path, target: Path) -> Path:
    """Worn, then kept at a high rate: neither file size nor codec tell of it any more."""
    between = target.with_name(f"{target.stem}.between.mkv")
    with_pictures(source, between, None, 40, PRESET)
    with_pictures(between, target, None, 18, PRESET)
    between.unlink()
    return target


def _twice(source: Path, target: Path) -> Path:
    """What two social networks do: smaller and coarse, then coded again."""
    between = target.with_name(f"{target.stem}.between.mkv")
    with_pictures(source, between, _half, 30, PRESET)
    with_pictures(between, target, None, 28, PRESET)
    between.unlink()
    return target


# Name: (in words, whether it needs sound, how a copy is written).
CONDITIONS: dict[str, tuple[str, bool, Callable[[Path, Path], Path]]] = {
    "crf23": (
        f"encoded again, H.264 at CRF {CRF}",
        False,
        lambda s, t: with_pictures(s, t, None, CRF, PRESET),
    ),
    "crf32": ("H.264 at CRF 32", False, lambda s, t: with_pictures(s, t, None, 32, PRESET)),
    "crf40": ("H.264 at CRF 40", False, lambda s, t: with_pictures(s, t, None, 40, PRESET)),
    "half": (
        "half the width and height",
        False,
        lambda s, t: with_pictures(s, t, _half, 18, PRESET),
    ),
    "double": ("half the size at CRF 30, then CRF 28", False, _twice),
    "hidden": ("CRF 40, then CRF 18", False, _hidden),
    "noise": (f"pink noise {NOISE_DB:g} dB below", True, lambda s, t: with_sound(s, t, _noise)),
    "aac": (
        "sound as AAC at 32 kb/s",
        True,
        lambda s, t: with_sound(s, t, lambda x: through_codec(x, "aac", 32_000)),
    ),
    "opus": (
        "sound as Opus at 24 kb/s",
        True,
        lambda s, t: with_sound(s, t, lambda x: through_codec(x, "opus", 24_000)),
    ),
    "phone": (
        "sound behind a telephone's band",
        True,
        lambda s, t: with_sound(s, t, lambda x: through_codec(x, "mu-law")),
    ),
}


def make(clips: Sequence[LabelledClip], data: Path, out: Path, wanted: Sequence[str]) -> None:
    """Write the sets by name into `out`; sets that are there already stay.

    Args:
        clips: with known answers, real and fake. data: the folder with the photographs.
    """
    audible = [clip for clip in clips if media.probe(clip.path).audio is not None]
    for name in wanted:
        folder = out / name
        if (folder / MANIFEST).is_file():
            continue
        folder.mkdir(parents=True, exist_ok=True)
        made: Iterator[Made]
        if name == PHOTOGRAPHS:
            made = ((path, clip, clip.method, []) for path, clip in film(data, folder))
        elif name in CONDITIONS:
            _, needs_sound, write = CONDITIONS[name]
            made = _under(audible if needs_sound else clips, folder, write)
        elif name in (FACE_PART, FACE_WHOLE):
            made = _faces([c for c in clips if not c.label], folder, part=name == FACE_PART)
        elif name == MOUTH_WHOLE:
            made = _mouths([c for c in clips if not c.label], folder)
        else:
            made = _voices([c for c in audible if not c.label], folder, name)
        _write_manifest(folder, made)


def seed_of(kind: str, clip: LabelledClip, variant: int = 0) -> int:
    """The same copy each time, and another one for each clip."""
    return zlib.crc32(f"{kind}:{clip.path.stem}:{variant}".encode())


def _under(
    clips: Sequence[LabelledClip], folder: Path, write: Callable[[Path, Path], Path]
) -> Iterator[Made]:
    for clip in clips:
        path = write(clip.path, folder / f"{clip.path.stem}.mkv")
        yield path, clip, clip.method, []


def _faces(clips: Sequence[LabelledClip], folder: Path, *, part: bool) -> Iterator[Made]:
    faces = FaceDetector(device="cpu")
    donors: dict[str, list[Image]] = {}
    for clip in clips:
        length = media.probe(clip.path).duration or 0.0
        if part and length < LEAST_LENGTH:
            continue
        random = np.random.default_rng(seed_of("face", clip, int(part)))
        stretch = _stretch(length, random) if part else None
        donor = None
        if random.random() < FOREIGN:
            other = _other(clip, clips, random)
            if other.path.stem not in donors:
                donors[other.path.stem] = donor_faces(other.path, faces)
            donor = donors[other.path.stem]
        path = folder / f"{clip.path.stem}.mkv"
        replace_face(clip.path, path, faces, random, stretch=stretch, donor=donor)
        method = "face swap (made, 2D)" if donor else "self-blend (made)"
        yield path, clip, method, [("visual", *stretch)] if stretch else []


def _mouths(clips: Sequence[LabelledClip], folder: Path) -> Iterator[Made]:
    """The person's own mouth of another moment, as lip-sync generators leave all else alone."""
    faces = FaceDetector(device="cpu")
    for clip in clips:
        donor = donor_faces(clip.path, faces)
        later = len(donor) // 2
        path = replace_face(
            clip.path,
            folder / f"{clip.path.stem}.mkv",
            faces,
            np.random.default_rng(seed_of("mouth", clip)),
            donor=[*donor[later:], *donor[:later]],
            shapes=MOUTHS,
        )
        yield path, clip, "mouth of another moment (made)", []


def _voices(clips: Sequence[LabelledClip], folder: Path, kind: str) -> Iterator[Made]:
    heard = {clip.path: heard_in(clip.path) for clip in clips}
    enough = [c for c in clips if (spoken(heard[c.path]).speech >= 0.5).sum() * BLOCK > SAMPLE_RATE]
    for clip in enough:
        samples = heard[clip.path]
        length = len(samples) / SAMPLE_RATE
        if kind != VOICE_WHOLE and length < LEAST_LENGTH:
            continue
        for variant in range(1 if kind in WHOLE_VOICES else VOICES):
            random = np.random.default_rng(seed_of(kind, clip, variant))
            stretch: tuple[float, float] | None = None
            if kind not in WHOLE_VOICES:
                stretch = _spoken_stretch(samples, random)
                if stretch is None:
                    continue
            path = folder / f"{clip.path.stem}-{variant}.mkv"
            change: Callable[[Samples], Samples]
            if kind in (DUB_PART, DUB_WHOLE):
                other = heard[_other(clip, enough, random).path]
                part = stretch or (0.0, length)

                def change(x: Samples, other: Samples = other, part: Any = part) -> Samples:
                    return overdubbed(x, other, part)

                spans, method = [("sync", *part)], "another voice laid over (made)"
            else:

                def change(x: Samples, random: Any = random, part: Any = stretch) -> Samples:
                    return revoiced(x, random, part)

                spans = [("audio", *stretch)] if stretch else []
                method = "voice synthesised anew (made)"
            yield with_sound(clip.path, path, change), clip, method, spans


def _stretch(length: float, random: np.random.Generator) -> tuple[float, float]:
    wanted = min(random.uniform(*PART), 0.6 * length)
    start = random.uniform(0.0, length - wanted)
    return round(start, 2), round(start + wanted, 2)


def _spoken_stretch(samples: Samples, random: np.random.Generator) -> tuple[float, float] | None:
    """A stretch in which somebody speaks most of the time; None where there is none."""
    speech = spoken(samples).speech >= 0.5
    for _ in range(50):
        start, end = _stretch(len(samples) / SAMPLE_RATE, random)
        part = speech[int(start * SAMPLE_RATE / BLOCK) : int(end * SAMPLE_RATE / BLOCK)]
        if len(part) and part.mean() >= LEAST_SPEECH:
            return start, end
    return None


def _other(
    clip: LabelledClip, clips: Sequence[LabelledClip], random: np.random.Generator
) -> LabelledClip:
    """A clip of somebody else."""
    others = [one for one in clips if one.group != clip.group]
    return others[int(random.integers(len(others)))]


def _write_manifest(folder: Path, made: Iterator[Made]) -> None:
    """The manifest comes last: a set without one was not finished and is made anew."""
    rows = []
    for path, clip, method, spans in made:
        fake = bool(clip.label) or method != clip.method
        rows.append(
            {
                "path": path.name,
                "label": "fake" if fake else "real",
                "method": method,
                "group": clip.group,
                "source_repo": clip.source,
                "identity": clip.identity,
                "segments": json.dumps(spans) if spans else "",
                MADE_OF: clip.path.stem,
            }
        )
    part = folder / f"{MANIFEST}.part"
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    part.replace(folder / MANIFEST)
