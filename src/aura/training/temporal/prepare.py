"""Make fakes and controls of every real clip, code them, track and measure them; keep numbers.

A piece's fakes and controls go through the same sizes and the same coding, so that neither tells
one from the other. The clips themselves are measured as they are, fakes by others as well: those
are never fitted on.
"""

from __future__ import annotations

import csv
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from aura.evaluation.clips import labelled_clips
from aura.faces import FaceDetector
from aura.media import decode, probe
from aura.subjects import SubjectTracker
from aura.training.augment.reencode import reencode
from aura.training.temporal.fakes import (
    CONTROLS,
    KINDS,
    PHOTO_SIDE,
    PLAIN,
    STILL_OTHER,
    make,
)
from aura.training.temporal.pieces import Piece, cut_piece, frames_of, joined, tracks_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.detectors.base import FaceTrack
    from aura.evaluation.clips import LabelledClip
    from aura.training.augment.picture import Image

Kept = dict[str, Any]
CRFS = (23, 32, 40)
WHOLE = "whole clip"  # a real clip as it is, or a fake by others


def prepare(data: Path, out: Path, part: int = 0, parts: int = 1) -> list[Path]:
    """Write `<clip>.npz` and `<clip>__<kind>__<crf>.npz` into `out`; what is there stays.

    Args:
        part: which of the clips, `parts` apart, are this process's.
    """
    detector = FaceDetector(device="cpu")
    clips = labelled_clips(data / "clips" / "dev")[part::parts]
    photos = _photos(data)
    written = [_once(clip_path(out, clip), partial(whole, clip, detector)) for clip in clips]
    real = [clip for clip in clips if clip.label == 0]
    piece: Piece | None = None
    for clip, following in zip(real, [*real[1:], real[0]], strict=True):
        planned = {kind: rates(clip, kind) for kind in (*CONTROLS, *KINDS)}
        paths = {
            (kind, crf): made_path(out, clip, kind, crf)
            for kind, chosen in planned.items()
            for crf in chosen
        }
        written += paths.values()
        other: Piece | None = None
        if not all(path.is_file() for path in paths.values()):
            piece = piece or cut_piece(clip.path, detector)
            other = cut_piece(following.path, detector)
            if piece is not None:
                _make_all(piece, other, paths, photos, detector)
        piece = other
    return [path for path in written if path.is_file()]


def rates(clip: LabelledClip, kind: str) -> tuple[int, ...]:
    """Rate factors at which a kind is coded: all for what is as it was, else one a clip."""
    draw = zlib.crc32(f"{clip.path.stem}/{kind}/crf".encode())
    return CRFS if kind == PLAIN else (CRFS[draw % len(CRFS)],)


def _make_all(
    piece: Piece,
    other: Piece | None,
    paths: dict[tuple[str, int], Path],
    photos: list[Path],
    detector: FaceDetector,
) -> None:
    name = next(iter(paths.values())).name.split("__")[0]
    for kind in (*CONTROLS, *KINDS):
        missing = {crf: path for (k, crf), path in paths.items() if k == kind}
        if all(path.is_file() for path in missing.values()) or (kind == STILL_OTHER and not other):
            continue
        random = np.random.default_rng(zlib.crc32(f"{name}/{kind}".encode()))
        photo = None
        while photo is None:
            photo = _photo(photos[int(random.integers(len(photos)))], detector)
        pictures = make(kind, piece, other or piece, photo, random)
        times = other.times if other and kind == STILL_OTHER else piece.times
        for crf, path in missing.items():
            _once(path, partial(coded, pictures, times, crf, detector))


def clip_path(out: Path, clip: LabelledClip) -> Path:
    """Where a whole clip is kept."""
    return out / f"{clip.path.stem}.npz"


def made_path(out: Path, clip: LabelledClip, kind: str, crf: int) -> Path:
    """Where a fake or a control is kept."""
    name = kind.replace(", ", "-").replace(" ", "_").replace("'", "")
    return out / f"{clip.path.stem}__{name}__{crf}.npz"


def _once(path: Path, measure: Callable[[], Kept]) -> Path:
    if not path.is_file():
        kept = measure()
        waiting = path.with_suffix(".tmp.npz")
        np.savez(waiting, **kept)
        waiting.replace(path)
    return path


def coded(
    pictures: list[Image], times: NDArray[np.float64], crf: int, detector: FaceDetector
) -> Kept:
    """What is kept of pictures after H.264 at a rate factor."""
    back = reencode(pictures, "h264", {"crf": str(crf), "preset": "veryfast"})
    return _kept(tracks_of(frames_of(back, times), detector))


def whole(clip: LabelledClip, detector: FaceDetector) -> Kept:
    """What is kept of a clip as it is."""
    tracker = SubjectTracker(detector, None, heads=True)
    found: dict[int, list[FaceTrack]] = {}
    for chunk in tracker.follow(decode(probe(clip.path))):
        for track in chunk.tracks:
            found.setdefault(track.subject, []).append(replace(track, crops=track.crops[:0]))
    parts = max(found.values(), key=lambda one: sum(len(t.mouth_times) for t in one), default=[])
    return _kept(joined(parts))


def _kept(track: FaceTrack | None) -> Kept:
    if track is None:
        return {}
    return {
        "times": track.mouth_times,
        "heads": track.heads,
        "landmarks": track.head_landmarks,
        "mouths": track.mouths,
        "sampled": track.times,
    }


def _photos(data: Path) -> list[Path]:
    with (data / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        return [
            data / row["path"]
            for row in csv.DictReader(stream)
            if row["kind"] == "image" and row["label"] == "real"
        ]


def _photo(path: Path, detector: FaceDetector) -> tuple[Image, NDArray[np.float32]] | None:
    image = cv2.imread(str(path))
    if image is None:
        return None
    side = PHOTO_SIDE
    rgb = np.ascontiguousarray(
        cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC)[..., ::-1]
    )
    faces = detector.detect(rgb)
    return (rgb, faces[0].landmarks) if faces else None
