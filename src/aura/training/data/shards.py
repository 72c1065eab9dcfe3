"""The shard of one clip on disk: a zip of .npy arrays, never pickled, whole or not there.

A shard is named by the video's SHA-256 and holds nothing of the manifest, so labels can be
corrected and rows added without decoding anything again. Faces are PNG (lossless, level 1): 41 % of
their raw size; docs/data.md has the measurements.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from aura.errors import InputError, UsageError
from aura.faces import CROP_SIDE
from aura.sound import SAMPLE_RATE
from aura.speech import BLOCK
from aura.training.data.extract import PCM_SCALE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aura.training.data.extract import Footage

SHARD_FORMAT = 1  # the newest layout that this version reads
SHARDS = "shards"
PARTIAL_SUFFIX = ".partial"
PNG_LEVEL = 1  # level 3 saves 6 % more and takes almost twice as long to write
CROP_SHAPE = (CROP_SIDE, CROP_SIDE, 3)
NAME_DIGITS = 32  # of the video's SHA-256
SPEECH_FROM = 0.5  # P(speech) that counts as speech where its seconds are summed up


@dataclass(frozen=True)
class ShardInfo:
    """What is known of a shard without opening its arrays.

    `shard` is its path in the prepared folder, `content` the SHA-256 of what the arrays hold
    (independent of how faces are compressed), `start` and `end` seconds, `frames` the number of
    faces, `speech` seconds of speech, `people` how many were seen in turn.
    """

    shard: str
    content: str
    fps: float
    start: float
    end: float
    frames: int
    speech: float
    people: int
    sampled: int
    without_face: int
    with_several: int


class Stored(NamedTuple):
    """The arrays of a shard, or of a stretch of it; see `Footage` for what they are."""

    info: ShardInfo
    frame_ids: NDArray[np.int64]
    times: NDArray[np.float64]
    crops: NDArray[np.uint8]
    landmarks: NDArray[np.float32]
    motion: NDArray[np.float32]
    sound_start: float
    samples: NDArray[np.float32]
    speech: NDArray[np.float32]


def shard_name(sha256: str) -> str:
    """Where the shard of a video lies in the prepared folder.

    >>> shard_name("ab" * 32)
    'shards/ab/abababababababababababababababab.npz'
    """
    return f"{SHARDS}/{sha256[:2]}/{sha256[:NAME_DIGITS]}.npz"


def write_shard(folder: Path, name: str, footage: Footage) -> ShardInfo:
    """Write a clip, whole or not at all; the same footage gives the same bytes.

    Raises:
        UsageError: the folder can't be written or the disk is full; nothing is left of the try.
    """
    info = ShardInfo(
        shard=name,
        content=_content(footage),
        fps=footage.fps,
        start=footage.start,
        end=footage.end,
        frames=len(footage.times),
        speech=float((footage.speech >= SPEECH_FROM).sum()) * BLOCK / SAMPLE_RATE,
        people=footage.people,
        sampled=footage.sampled,
        without_face=footage.without_face,
        with_several=footage.with_several,
    )
    pictures = [_to_png(crop) for crop in footage.crops]
    meta = {"format": SHARD_FORMAT, "sound_start": footage.sound_start, **asdict(info)}
    arrays: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "frame_ids": footage.frame_ids,
        "times": footage.times,
        "landmarks": footage.landmarks,
        "motion": footage.motion,
        "face_ends": np.cumsum([len(one) for one in pictures], dtype=np.int64),
        "faces": np.frombuffer(b"".join(pictures), np.uint8),
        "sound": footage.sound,
        "speech": footage.speech,
    }
    target = folder / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, partial = tempfile.mkstemp(dir=target.parent, suffix=PARTIAL_SUFFIX)
        try:
            with os.fdopen(handle, "wb") as stream:
                np.savez(stream, allow_pickle=False, **arrays)
                stream.flush()
                os.fsync(stream.fileno())  # else a power cut leaves a name without its content
            Path(partial).chmod(0o644)
            Path(partial).replace(target)
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(
            f"{folder} can't be written ({error.strerror}); make room or name another folder, "
            "what was prepared so far stays"
        ) from None
    return info


def read_info(folder: Path, name: str) -> ShardInfo:
    """What a shard says of itself.

    Raises:
        InputError: missing, damaged, or written by a newer version.
    """
    with _Opened(folder / name) as arrays:
        return _info(arrays.meta, name)


def read_times(folder: Path, name: str) -> NDArray[np.float64]:
    """When its faces were seen, in seconds; no face is decoded.

    Raises:
        InputError: missing, damaged, or written by a newer version.
    """
    with _Opened(folder / name) as arrays:
        return arrays["times"]


def read_shard(folder: Path, name: str, span: tuple[float, float] | None = None) -> Stored:
    """The arrays of a shard.

    Args:
        span: (start, end) in seconds: only faces in it are decoded, and only the sound in it comes
            along; the whole clip by default.

    Raises:
        InputError: missing, damaged, or written by a newer version.
    """
    with _Opened(folder / name) as arrays:
        times = arrays["times"]
        low, high = (0, len(times)) if span is None else np.searchsorted(times, span)
        ends = np.concatenate([[0], arrays["face_ends"]])
        packed = arrays["faces"]
        crops = [
            _from_png(packed[ends[index] : ends[index + 1]], folder / name)
            for index in range(low, high)
        ]
        sound_start, sound, speech = arrays.meta["sound_start"], arrays["sound"], arrays["speech"]
        if span is not None:
            sound_start, sound, speech = _sound_within(sound_start, sound, speech, span)
        return Stored(
            info=_info(arrays.meta, name),
            frame_ids=arrays["frame_ids"][low:high],
            times=times[low:high],
            crops=np.stack(crops) if crops else np.zeros((0, *CROP_SHAPE), np.uint8),
            landmarks=arrays["landmarks"][low:high],
            motion=arrays["motion"][low:high],
            sound_start=sound_start,
            samples=sound.astype(np.float32) / np.float32(PCM_SCALE),
            speech=speech,
        )


def remove_partial(folder: Path) -> int:
    """Remove what killed runs left half-written; how many files."""
    left = list((folder / SHARDS).glob(f"*/*{PARTIAL_SUFFIX}"))
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _sound_within(
    start: float, sound: NDArray[np.int16], speech: NDArray[np.float32], span: tuple[float, float]
) -> tuple[float, NDArray[np.int16], NDArray[np.float32]]:
    """The whole blocks of sound that touch a span."""
    seconds = BLOCK / SAMPLE_RATE
    low = max(0, int((span[0] - start) / seconds))
    high = max(low, int(np.ceil((span[1] - start) / seconds)))
    return start + low * seconds, sound[low * BLOCK : high * BLOCK], speech[low:high]


def _to_png(crop: NDArray[np.uint8]) -> bytes:
    _, packed = cv2.imencode(".png", crop[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, PNG_LEVEL])
    return bytes(packed)


def _from_png(packed: NDArray[np.uint8], path: Path) -> NDArray[np.uint8]:
    picture = cv2.imdecode(packed, cv2.IMREAD_COLOR)
    if picture is None or picture.shape != CROP_SHAPE:
        raise _damaged(path, "a face is no picture")
    return np.asarray(picture[..., ::-1], np.uint8)


def _content(footage: Footage) -> str:
    digest = hashlib.sha256()
    for values in (
        np.array([footage.fps, footage.start, footage.end, footage.sound_start]),
        *(footage.frame_ids, footage.times, footage.crops, footage.landmarks, footage.motion),
        *(footage.sound, footage.speech),
    ):
        digest.update(f"{values.dtype.str} {values.shape}".encode())
        digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


class _Opened:
    """An open shard; every array is read when it is asked for, and checked by the zip's CRC."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> _Opened:
        try:
            self._arrays = np.load(self._path, allow_pickle=False)
        except FileNotFoundError:
            raise InputError(
                f"{self._path} is missing; run the same `aura data prepare` again to restore it"
            ) from None
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(self._path, str(error)) from None
        try:
            self.meta: dict[str, Any] = self._read_meta()
        except BaseException:
            self._arrays.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._arrays.close()

    def __getitem__(self, name: str) -> NDArray[Any]:
        try:
            return np.asarray(self._arrays[name])
        except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise _damaged(self._path, str(error)) from None

    def _read_meta(self) -> dict[str, Any]:
        if not isinstance(self._arrays, np.lib.npyio.NpzFile):
            raise _damaged(self._path, "it is no zip of arrays")
        try:
            meta = json.loads(self["meta"].tobytes())
            version = int(meta["format"])
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(self._path, str(error)) from None
        if version > SHARD_FORMAT:
            raise InputError(
                f"{self._path} has format {version}, this version reads up to {SHARD_FORMAT}: "
                "upgrade aura-veracity"
            )
        return dict(meta)


def _info(meta: dict[str, Any], name: str) -> ShardInfo:
    known = {key: meta[key] for key in ShardInfo.__dataclass_fields__ if key in meta}
    return ShardInfo(**{**known, "shard": name})


def _damaged(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is damaged ({why}); delete it and run the same `aura data prepare` again"
    )
