"""From a file to pictures and sound: probe, hash, decode once, streaming.

A file is a video, a single picture or sound alone; the last two are decoded by the same way, as a
video of one picture and as one of none.

All times are seconds since time zero, the instant that a player shows as 0:00 (the container's
start time), so pictures and sound share one clock whatever their own offsets are.
"""

from __future__ import annotations

import math
import tempfile
import wave
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import av
import numpy as np

from aura.background import run_ahead
from aura.container import (
    HOPELESS_PACKETS,
    Tracks,
    check_dimensions,
    check_file,
    find_tracks,
    first_picture,
    no_video,
    nothing_decoded,
    opened,
    packets,
    stated_duration,
    still_format,
)
from aura.errors import InputError, UnreadableMedia, UsageError
from aura.pictures import (
    MAX_SIDE,
    Frame,
    Orientation,
    PictureConverter,
    decode_size,
    display_size,
    orientation,
)
from aura.runtime import sha256_file
from aura.sound import SAMPLE_RATE, SoundBlock, SoundPlacer
from aura.timeline import BELIEVABLE_FPS, Choice, DecodeLog, FrameChooser, PictureTimes

if TYPE_CHECKING:
    import os
    from collections.abc import Generator, Iterator

    from av.container import InputContainer

__all__ = [
    "MAX_SIDE",
    "AudioStream",
    "DecodeLog",
    "Frame",
    "MediaInfo",
    "MediaKind",
    "SoundBlock",
    "VideoInfo",
    "VideoStream",
    "decode",
    "decode_size",
    "examine",
    "extract_audio",
    "probe",
    "sample_rate_of",
]

SAMPLE_FPS = 5.0  # contract: uniform 5 pictures a second ...
SAMPLE_FPS_HIGH = 10.0  # ... and 10 for high-resolution input,
HIGH_RESOLUTION_LINES = 1080  # which begins here (the shorter side as displayed)

QUEUE_ITEMS = 32  # about a second of decoding ahead of the consumer ...
QUEUE_BYTES = 48 * 2**20  # ... and never more than this
MediaKind = Literal["video", "image", "audio"]

# Containers of sound alone that count their samples; others guess their length from their size.
STATED_EXACTLY = ("flac", "mov")
TRUNCATION_SLACK = 1.0  # seconds by which a sound file may end before its header says


@dataclass(frozen=True)
class VideoStream:
    """The picture track. `width` and `height` in square pixels as displayed, after rotation.

    `rotation` is how far the coded picture is turned clockwise for display; `fps` is the average
    rate and `frames` the count that the file states, None where it states none; `bit_rate` in
    bit/s.
    """

    codec: str
    width: int
    height: int
    rotation: int
    fps: float | None
    frames: int | None
    pixel_format: str | None
    bit_rate: int | None
    mirrored: bool = False


@dataclass(frozen=True)
class AudioStream:
    """The sound track: Hz, channels, bit/s; `start` in seconds since time zero."""

    codec: str
    sample_rate: int
    channels: int
    bit_rate: int | None
    start: float


@dataclass(frozen=True)
class MediaInfo:
    """What a file says about itself, with its SHA-256; `duration` in seconds, None if unknown.

    `video` describes the picture of a still picture too, and is None for sound alone. `notes` holds
    what a reader of the report should know, such as a sound track of a codec that can't be decoded.
    """

    path: Path
    sha256: str
    size_bytes: int
    container: str
    duration: float | None
    video: VideoStream | None
    audio: AudioStream | None
    notes: tuple[str, ...] = ()
    kind: MediaKind = "video"


@dataclass(frozen=True)
class VideoInfo(MediaInfo):
    """What a file that holds a video says about itself."""

    video: VideoStream


def probe(path: str | os.PathLike[str]) -> VideoInfo:
    """Hash a video file and find out what is in it; the first picture is decoded to be sure.

    Raises:
        InputNotFound: missing, a folder, not readable.
        UnreadableMedia: nothing in it can be decoded, or its pictures are absurdly large.
        NoVideo: sound only, or a still picture.
    """
    path = Path(path)
    size = check_file(path)
    with opened(path) as container:
        tracks = find_tracks(container, path)
        if tracks.video is None:
            raise no_video(path, tracks)
        video = _describe_video(container, tracks.video, path)
        duration = stated_duration(container, tracks.video)
        audio, name = _describe_audio(tracks), container.format.name
    return VideoInfo(path, sha256_file(path), size, name, duration, video, audio, tracks.notes)


def examine(path: str | os.PathLike[str]) -> MediaInfo:
    """The same for any file that can be judged: a video, a single picture, sound alone.

    Raises:
        InputNotFound: missing, a folder, not readable.
        UnreadableMedia: nothing in it can be decoded, or its pictures are absurdly large.
        NoVideo: neither pictures nor sound, or a picture of a kind that is not decoded.
    """
    path = Path(path)
    size = check_file(path)
    still = still_format(path) is not None
    with opened(path, stills=True) as container:
        tracks = find_tracks(container, path)
        if tracks.video is None and tracks.audio is None:
            raise no_video(path, tracks)
        kind: MediaKind = "image" if still else "video" if tracks.video is not None else "audio"
        video = None if tracks.video is None else _describe_video(container, tracks.video, path)
        if video is not None and still:  # the rate at which a demuxer would show it says nothing
            video = replace(video, fps=None, frames=1, bit_rate=None)
        stream = tracks.audio if tracks.video is None else tracks.video
        duration = None if still else stated_duration(container, stream)
        audio, name = _describe_audio(tracks), container.format.name
    return MediaInfo(
        path, sha256_file(path), size, name, duration, video, audio, tracks.notes, kind
    )


def _describe_video(container: InputContainer, stream: Any, path: Path) -> VideoStream:
    rate = stream.average_rate or stream.guessed_rate
    first = first_picture(container, stream, path)
    upright = orientation(first)
    shown = display_size(first.width, first.height, stream.sample_aspect_ratio)
    width, height = shown if upright.rotation % 180 == 0 else shown[::-1]
    return VideoStream(
        codec=stream.codec_context.name,
        width=width,
        height=height,
        rotation=upright.rotation,
        fps=float(rate) if rate and _believable(float(rate)) else None,
        frames=stream.frames or None,
        pixel_format=first.format.name,
        bit_rate=stream.codec_context.bit_rate or None,
        mirrored=upright.mirrored,
    )


def sample_rate_of(video: VideoStream | None) -> float:
    """How many pictures a second are sampled by default: 5, or 10 from 1080 lines on."""
    lines = min(video.width, video.height) if video else 0
    return SAMPLE_FPS_HIGH if lines >= HIGH_RESOLUTION_LINES else SAMPLE_FPS


def decode(
    info: MediaInfo, *, fps: float | None = None, log: DecodeLog | None = None
) -> Generator[Frame | SoundBlock, None, None]:
    """Decode a file once, from beginning to end, in a thread of its own.

    Pictures come in order of time: the sampled ones with RGB (uniform grid by presentation time,
    `fps` a second), those in between as luma only and thinned to about 30 a second. Sound comes
    as 16 kHz mono blocks without gaps or overlaps, interleaved as the file has it. Closing the
    generator stops the thread and closes the file.

    Args:
        info: the result of `probe` or `examine`.
        fps: sampled pictures a second; 5 by default, 10 for input of 1080 lines and more.
        log: filled with what was met on the way; read it after the last item.

    Raises:
        UsageError: `fps` is not a believable rate.
        UnreadableMedia: not one picture can be decoded, or of sound alone nothing at all.
    """
    if fps is not None and not _believable(fps):
        raise UsageError(f"--fps {fps:g}: give a number of pictures a second, such as 5")
    log = DecodeLog() if log is None else log
    if info.video is None:
        items = _sound_alone(info, log)
    else:
        rate = fps or sample_rate_of(info.video)
        items = _read(info.path, log, _PictureReader(info, info.video, rate, log))
        if info.kind == "image":
            items = _first(items)
    return run_ahead(
        items,
        max_items=QUEUE_ITEMS,
        max_bytes=QUEUE_BYTES,
        size_of=_bytes_of,
        name="aura-decode",
    )


def _first(items: Generator[Frame | SoundBlock, None, None]) -> Iterator[Frame | SoundBlock]:
    """Of a picture file the first one: phones put others (depth, a preview) behind it."""
    with closing(items):
        yield from islice(items, 1)


def _sound_alone(info: MediaInfo, log: DecodeLog) -> Iterator[Frame | SoundBlock]:
    """A file without pictures; one of which nothing can be decoded is an error as it is there."""
    end: float | None = None
    for block in _read(info.path, log, picture_reader=None):
        if isinstance(block, SoundBlock):
            end = block.start + len(block.samples) / SAMPLE_RATE
        yield block
    if end is None:
        raise UnreadableMedia(
            f"{info.path} holds no sound that can be decoded; it may be cut off or damaged, "
            "download or export it again"
        )
    exact = info.container.startswith(STATED_EXACTLY)
    if exact and info.duration is not None and end + TRUNCATION_SLACK < info.duration:
        log.truncated = True


def _bytes_of(item: Frame | SoundBlock) -> int:
    if isinstance(item, SoundBlock):
        return item.samples.nbytes
    return item.luma.nbytes + (item.rgb.nbytes if item.rgb is not None else 0)


@contextmanager
def extract_audio(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write the sound as a temporary 16 kHz mono 16-bit PCM WAV and remove it after use.

    Its first sample is heard at time zero: sound that begins later is preceded by silence.

    Raises:
        InputNotFound, UnreadableMedia: as `probe`.
        InputError: the file has no sound track that can be decoded.
    """
    path = Path(path)
    check_file(path)
    with tempfile.TemporaryDirectory(prefix="aura-") as folder:  # readable by its owner only
        target = Path(folder) / "sound.wav"
        with wave.open(str(target), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(SAMPLE_RATE)
            blocks = 0
            for block in _read(path, DecodeLog(), picture_reader=None):
                if isinstance(block, SoundBlock):
                    if not blocks:
                        file.writeframes(b"\0\0" * round(block.start * SAMPLE_RATE))
                    blocks += 1
                    file.writeframes(np.round(block.samples * 32767).astype("<i2").tobytes())
        if not blocks:
            raise InputError(f"{path} has no sound track that can be decoded; give a file with one")
        yield target


def _describe_audio(tracks: Tracks) -> AudioStream | None:
    stream = tracks.audio
    if stream is None:
        return None
    context = stream.codec_context
    start = stream.start_time
    return AudioStream(
        codec=context.name,
        sample_rate=context.sample_rate,
        channels=context.channels,
        bit_rate=context.bit_rate or None,
        start=float(start * stream.time_base) - tracks.zero if start is not None else 0.0,
    )


def _believable(fps: float) -> bool:
    return math.isfinite(fps) and BELIEVABLE_FPS[0] <= fps <= BELIEVABLE_FPS[1]


class _PictureReader:
    """Decoded pictures in, `Frame`s out."""

    def __init__(self, info: MediaInfo, video: VideoStream, fps: float, log: DecodeLog) -> None:
        width, height = decode_size(video.width, video.height)
        coded = (width, height) if video.rotation % 180 == 0 else (height, width)
        self._converter = PictureConverter(coded, Orientation(video.rotation, video.mirrored))
        self._chooser = FrameChooser(fps, video.fps)
        self._times = PictureTimes(video.fps, log)
        self._log = log
        self._path = info.path
        self.still = info.kind == "image"
        self.end = 0.0  # seconds at which the last picture stops being shown

    def feed(self, picture: Any, raw: float | None, following: float | None) -> Iterator[Frame]:
        """Take in one decoded picture; times in seconds since time zero, None when unknown."""
        check_dimensions(self._path, picture.width, picture.height)
        index = self._log.pictures
        time = self._times.place(raw, following)
        self._log.pictures += 1
        self._log.last_time = time
        self.end = time + float((picture.duration or 0) * (picture.time_base or 0))
        self._log.corrupt_pictures += picture.is_corrupt
        choice = self._chooser.choose(time)
        if choice is not Choice.SKIP:
            sampled = choice is Choice.SAMPLE
            yield self._converter.convert(picture, index, time, sampled=sampled)


class _Lookahead:
    """Holds one decoded item back until the time of the next one is known."""

    def __init__(self, reader: _PictureReader | SoundPlacer, zero: float) -> None:
        self._reader = reader
        self._zero = zero
        self._held: tuple[Any, float | None] | None = None

    def feed(self, item: Any) -> Iterator[Frame | SoundBlock]:
        stamp = item.pts if item.pts is not None else item.dts
        known = stamp is not None and item.time_base is not None
        base = item.time_base
        raw = stamp * base.numerator / base.denominator - self._zero if known else None
        held, self._held = self._held, (item, raw)
        if held is not None:
            yield from self._reader.feed(held[0], held[1], raw)

    def finish(self) -> Iterator[Frame | SoundBlock]:
        if self._held is not None:
            yield from self._reader.feed(*self._held, None)
        self._held = None
        if isinstance(self._reader, SoundPlacer):
            yield from self._reader.finish()


def _read(
    path: Path, log: DecodeLog, picture_reader: _PictureReader | None
) -> Generator[Frame | SoundBlock, None, None]:
    """Everything in a file, in its own order; sound only without a picture reader."""
    with opened(path, stills=picture_reader is not None and picture_reader.still) as container:
        tracks = find_tracks(container, path)
        readers: dict[int, _Lookahead] = {}
        sound = SoundPlacer(log)
        if tracks.audio is not None:
            readers[tracks.audio.index] = _Lookahead(sound, tracks.zero)
        if picture_reader is not None:
            if tracks.video is None:
                raise no_video(path, tracks)
            readers[tracks.video.index] = _Lookahead(picture_reader, tracks.zero)
        streams = [s for s in (tracks.video, tracks.audio) if s and s.index in readers]
        if not streams:
            return
        failures = 0
        for packet in packets(container, streams, log):
            try:
                items = packet.decode()
            except av.FFmpegError:
                log.bad_packets += packet.size > 0
                failures += 1
                if picture_reader and not log.pictures and failures >= HOPELESS_PACKETS:
                    raise nothing_decoded(path) from None
                continue
            for item in items:
                yield from readers[packet.stream_index].feed(item)
        for reader in readers.values():
            yield from reader.finish()
        if picture_reader is not None:
            if not log.pictures:
                raise nothing_decoded(path)
            _note_truncation(container, tracks.video, log, picture_reader.end, sound.end or 0.0)


def _note_truncation(
    container: InputContainer, stream: Any, log: DecodeLog, pictures_end: float, sound_end: float
) -> None:
    """Mark the log when pictures (or, failing their own duration, everything) end too early."""
    stated, reached = stated_duration(container, stream), max(pictures_end, sound_end)
    if stream.duration is not None and stream.duration > 0:
        stated, reached = float(stream.duration * stream.time_base), pictures_end
    period = float(1 / stream.average_rate) if stream.average_rate else 0.0
    if stated is not None and reached + max(TRUNCATION_SLACK, 2 * period) < stated:
        log.truncated = True
