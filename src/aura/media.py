"""From a video file to pictures and sound: probe, hash, decode once, streaming.

All times are seconds since time zero, the instant that a player shows as 0:00 (the container's
start time), so pictures and sound share one clock whatever their own offsets are.

Files are untrusted. Only the file itself is opened: no playlist, no list of parts, no pattern, no
other protocol than `file`; and pictures beyond `MAX_PIXELS` are refused before they are decoded.
"""

from __future__ import annotations

import atexit
import math
import tempfile
import threading
import wave
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import av
import numpy as np

from aura.errors import AuraError, InputError, InputNotFound, NoVideo, UnreadableMedia, UsageError
from aura.pictures import (
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
    "AudioStream",
    "DecodeLog",
    "Frame",
    "MediaInfo",
    "SoundBlock",
    "VideoStream",
    "decode",
    "decode_size",
    "extract_audio",
    "probe",
    "sample_rate_of",
]

SAMPLE_FPS = 5.0  # contract: uniform 5 pictures a second ...
SAMPLE_FPS_HIGH = 10.0  # ... and 10 for high-resolution input,
HIGH_RESOLUTION_LINES = 1080  # which begins here (the shorter side as displayed)

MAX_PICTURE_SIDE = 16_384  # pixels; what decoders themselves allow
MAX_PIXELS = 2**27  # 134 megapixels, 200 MB decoded: more is a bomb, not a video
FRAME_THREADS_PIXELS = 3840 * 2160  # above, pictures are too large to keep one per thread

QUEUE_ITEMS = 32  # about a second of decoding ahead of the consumer ...
QUEUE_BYTES = 48 * 2**20  # ... and never more than this
HOPELESS_PACKETS = 300  # undecodable packets in a row before the first picture: give up
READ_RETRIES = 16  # failed reads in a row before the rest of the file counts as lost
TRUNCATION_SLACK = 1.0  # seconds by which a sound file may end before its header says

# Self-contained formats only. Playlists (hls, dash, concat), numbered pictures and devices can
# name other files and are left out; audio formats are here so that the answer is "no picture".
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,h264,hevc,m4v,obu,mxf,nut,gif,rm,dv,"
    "wav,mp3,aac,flac,ac3,eac3,amr,aiff,au,caf,w64"
)
STILL_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF"}
STILL_MAGIC |= {b"MM\0*": "TIFF", b"\0\0\1\0": "icon"}
STILL_BRANDS = {b"heic", b"heix", b"mif1", b"avif"}
PLAYLIST_MAGIC = (b"#EXTM3U", b"ffconcat", b"file ", b"<?xml", b"<MPD", b"v=0", b"[playlist]")

av.logging.set_level(None)  # FFmpeg's own words would end up between ours on the terminal


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

    `notes` holds what a reader of the report should know, such as a sound track of a codec that
    can't be decoded.
    """

    path: Path
    sha256: str
    size_bytes: int
    container: str
    duration: float | None
    video: VideoStream
    audio: AudioStream | None
    notes: tuple[str, ...] = ()


class _Tracks(NamedTuple):
    video: Any
    audio: Any
    zero: float  # time zero on the file's own clock, in seconds
    notes: tuple[str, ...]


def probe(path: str | os.PathLike[str]) -> MediaInfo:
    """Hash a file and find out what is in it; the first picture is decoded to be sure.

    Raises:
        InputNotFound: missing, a folder, not readable.
        UnreadableMedia: nothing in it can be decoded, or its pictures are absurdly large.
        NoVideo: sound only, or a still picture.
    """
    path = Path(path)
    size = _check_file(path)
    with _opened(path) as container:
        tracks = _tracks(container, path)
        stream = tracks.video
        if stream is None:
            raise _no_video(path, tracks)
        audio = _describe_audio(tracks)
        rate = stream.average_rate or stream.guessed_rate
        described = VideoStream(
            codec=stream.codec_context.name,
            width=0,
            height=0,
            rotation=0,
            fps=float(rate) if rate and _believable(float(rate)) else None,
            frames=stream.frames or None,
            pixel_format=stream.codec_context.pix_fmt,
            bit_rate=stream.codec_context.bit_rate or None,
        )
        duration = _duration(container, stream)
        name = container.format.name
        first = _first_picture(container, stream, path)
        upright = orientation(first)
        shown = display_size(first.width, first.height, stream.sample_aspect_ratio)
        width, height = shown if upright.rotation % 180 == 0 else shown[::-1]
    video = replace(
        described,
        width=width,
        height=height,
        rotation=upright.rotation,
        mirrored=upright.mirrored,
        pixel_format=first.format.name,
    )
    return MediaInfo(path, sha256_file(path), size, name, duration, video, audio, tracks.notes)


def sample_rate_of(video: VideoStream) -> float:
    """How many pictures a second are sampled by default: 5, or 10 from 1080 lines on."""
    lines = min(video.width, video.height)
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
        info: the result of `probe`.
        fps: sampled pictures a second; 5 by default, 10 for input of 1080 lines and more.
        log: filled with what was met on the way; read it after the last item.

    Raises:
        UsageError: `fps` is not a believable rate.
        UnreadableMedia: not one picture can be decoded.
    """
    if fps is not None and not _believable(fps):
        raise UsageError(f"--fps {fps:g}: give a number of pictures a second, such as 5")
    log = DecodeLog() if log is None else log
    return _decode(info, fps or sample_rate_of(info.video), log)


def _decode(
    info: MediaInfo, fps: float, log: DecodeLog
) -> Generator[Frame | SoundBlock, None, None]:
    pipe = _Pipe()
    thread = threading.Thread(
        target=_fill, args=(pipe, info, fps, log), name="aura-decode", daemon=True
    )
    thread.start()
    try:
        while (item := pipe.get()) is not None:
            yield item
    finally:
        pipe.close()
        thread.join()


@contextmanager
def extract_audio(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write the sound as a temporary 16 kHz mono 16-bit PCM WAV and remove it after use.

    Its first sample is heard at time zero: sound that begins later is preceded by silence.

    Raises:
        InputNotFound, UnreadableMedia: as `probe`.
        InputError: the file has no sound track that can be decoded.
    """
    path = Path(path)
    _check_file(path)
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


# --- opening -----------------------------------------------------------------------------------


def _check_file(path: Path) -> int:
    """Size in bytes of a file that can be read."""
    try:
        if path.is_dir():
            raise InputNotFound(f"{path} is a folder; name a video file in it")
        if not path.exists():
            raise InputNotFound(f"{path} does not exist; check the path")
        if not path.is_file():
            raise InputNotFound(f"{path} is not an ordinary file; copy the video to disk first")
        with path.open("rb"):
            size = path.stat().st_size
    except PermissionError:
        raise InputNotFound(f"{path} may not be read; change its permissions") from None
    except (OSError, ValueError) as error:
        raise InputNotFound(f"{path} can't be opened ({error})") from None
    if size == 0:
        raise UnreadableMedia(f"{path} is empty; was the download or copy interrupted?")
    return size


@contextmanager
def _opened(path: Path) -> Iterator[InputContainer]:
    """Open a container; no exception of PyAV passes beyond this."""
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "max_pixels": str(MAX_PIXELS),
    }
    if _is_still_brand(path):
        raise NoVideo(f"{path} is a still picture (HEIF or AVIF); give a video file")
    try:
        # `file:` and an absolute path, so that no name can be taken for another protocol.
        container = av.open(
            f"file:{path.absolute()}", mode="r", options=options, metadata_errors="replace"
        )
    except (av.FFmpegError, ValueError) as error:
        raise _unreadable(path, error) from None
    try:
        yield container
    except av.FFmpegError as error:
        raise UnreadableMedia(
            f"{path} can't be decoded ({_reason(error)}); re-export or download it again"
        ) from None
    finally:
        container.close()


def _unreadable(path: Path, error: Exception) -> AuraError:
    """The right words for a file that no allowed format recognises."""
    head = _head(path)
    for magic, kind in STILL_MAGIC.items():
        if head.startswith(magic):
            return NoVideo(f"{path} is a still picture ({kind}); give a video file")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return NoVideo(f"{path} is a still picture (WebP); give a video file")
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(PLAYLIST_MAGIC):
        return UnreadableMedia(
            f"{path} is a playlist or list of files, which is not followed; give the video itself"
        )
    return UnreadableMedia(
        f"{path} is not a video that can be read ({_reason(error)}); "
        "it may be cut off or be another kind of file"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError:
        return b""


def _is_still_brand(path: Path) -> bool:
    head = _head(path)
    return head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _tracks(container: InputContainer, path: Path) -> _Tracks:
    """Choose the picture and the sound track, and find time zero."""
    notes = []
    unwanted = (
        av.stream.Disposition.attached_pic
        | av.stream.Disposition.timed_thumbnails
        | av.stream.Disposition.still_image
    )
    pictures = [s for s in container.streams.video if not s.disposition & unwanted]
    sounds = list(container.streams.audio)
    videos = [s for s in pictures if s.codec_context is not None]
    audios = [s for s in sounds if s.codec_context is not None and s.codec_context.sample_rate]
    if pictures and not videos:
        raise UnreadableMedia(
            f"{path} holds pictures of a codec that can't be decoded here; convert it to H.264"
        )
    if sounds and not audios:
        notes.append("the sound track is of a codec that can't be decoded and was left out")
    video = max(videos, key=_preference, default=None)
    audio = (
        max(audios, key=lambda s: bool(s.disposition & av.stream.Disposition.default))
        if (audios)
        else None
    )
    if video is not None:
        context = video.codec_context
        _check_dimensions(path, context.width, context.height)
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
        small = context.width * context.height <= FRAME_THREADS_PIXELS
        context.thread_type = "AUTO" if small else "SLICE"
    starts = [
        s.start_time * s.time_base
        for s in (video, audio)
        if s is not None and s.start_time is not None and s.time_base is not None
    ]
    zero = container.start_time
    seconds = zero / 1_000_000 if zero is not None else float(min(starts, default=0))
    return _Tracks(video, audio, seconds, tuple(notes))


def _preference(stream: Any) -> tuple[bool, int]:
    context = stream.codec_context
    default = bool(stream.disposition & av.stream.Disposition.default)
    return default, context.width * context.height


def _check_dimensions(path: Path, width: int, height: int) -> None:
    if max(width, height) > MAX_PICTURE_SIDE or width * height > MAX_PIXELS:
        raise UnreadableMedia(
            f"{path} has pictures of {width}x{height}, more than {MAX_PICTURE_SIDE} a side or "
            f"{MAX_PIXELS // 10**6} megapixels; scale it down first"
        )


def _no_video(path: Path, tracks: _Tracks) -> NoVideo:
    what = "only sound" if tracks.audio is not None else "no picture track"
    return NoVideo(f"{path} has {what}; give a video file")


def _believable(fps: float) -> bool:
    return math.isfinite(fps) and BELIEVABLE_FPS[0] <= fps <= BELIEVABLE_FPS[1]


def _describe_audio(tracks: _Tracks) -> AudioStream | None:
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


def _duration(container: InputContainer, stream: Any) -> float | None:
    if container.duration is not None and container.duration > 0:
        return container.duration / 1_000_000
    if stream.duration is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return None


def _first_picture(container: InputContainer, stream: Any, path: Path) -> Any:
    failures = 0
    try:
        for packet in container.demux(stream):
            try:
                for picture in packet.decode():
                    return picture
            except av.FFmpegError:
                failures += 1
                if failures >= HOPELESS_PACKETS:
                    break
    except av.FFmpegError:
        pass  # the same answer as for a file that ends here
    raise _nothing_decoded(path)


def _nothing_decoded(path: Path) -> UnreadableMedia:
    return UnreadableMedia(
        f"{path} holds no picture that can be decoded; it may be cut off or damaged, "
        "download or export it again"
    )


# --- decoding ----------------------------------------------------------------------------------


class _PictureReader:
    """Decoded pictures in, `Frame`s out."""

    def __init__(self, info: MediaInfo, fps: float, log: DecodeLog) -> None:
        video = info.video
        width, height = decode_size(video.width, video.height)
        coded = (width, height) if video.rotation % 180 == 0 else (height, width)
        self._converter = PictureConverter(coded, Orientation(video.rotation, video.mirrored))
        self._chooser = FrameChooser(fps, video.fps)
        self._times = PictureTimes(video.fps, log)
        self._log = log
        self._path = info.path

    def feed(self, picture: Any, raw: float | None, following: float | None) -> Iterator[Frame]:
        """Take in one decoded picture; times in seconds since time zero, None when unknown."""
        _check_dimensions(self._path, picture.width, picture.height)
        index = self._log.pictures
        time = self._times.place(raw, following)
        self._log.pictures += 1
        self._log.last_time = time
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
        raw = float(stamp * item.time_base) - self._zero if known else None
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
) -> Iterator[Frame | SoundBlock]:
    """Everything in a file, in its own order; sound only without a picture reader."""
    with _opened(path) as container:
        tracks = _tracks(container, path)
        readers: dict[int, _Lookahead] = {}
        sound = SoundPlacer(log)
        if tracks.audio is not None:
            readers[tracks.audio.index] = _Lookahead(sound, tracks.zero)
        if picture_reader is not None:
            if tracks.video is None:
                raise _no_video(path, tracks)
            readers[tracks.video.index] = _Lookahead(picture_reader, tracks.zero)
        streams = [s for s in (tracks.video, tracks.audio) if s and s.index in readers]
        if not streams:
            return
        failures = 0
        for packet in _packets(container, streams, log):
            try:
                items = packet.decode()
            except av.FFmpegError:
                log.bad_packets += packet.size > 0
                failures += 1
                if picture_reader and not log.pictures and failures >= HOPELESS_PACKETS:
                    raise _nothing_decoded(path) from None
                continue
            for item in items:
                yield from readers[packet.stream_index].feed(item)
        for reader in readers.values():
            yield from reader.finish()
        if picture_reader is not None:
            if not log.pictures:
                raise _nothing_decoded(path)
            _note_truncation(container, tracks, log, sound.end)


def _packets(container: InputContainer, streams: list[Any], log: DecodeLog) -> Iterator[Any]:
    """Packets to the end of the file, past places that can't be read."""
    failures = 0
    while True:
        try:
            for packet in container.demux(streams):
                failures = 0 if packet.size else failures
                yield packet
        except av.FFmpegError:
            failures += 1
            if failures < READ_RETRIES:
                continue
            log.truncated = True
            for stream in streams:  # what the decoders still hold
                flush = av.Packet()
                flush.stream = stream
                yield flush
        return


def _note_truncation(
    container: InputContainer, tracks: _Tracks, log: DecodeLog, sound_end: float | None
) -> None:
    stream = tracks.video
    stated, reached = _duration(container, stream), max(log.last_time or 0.0, sound_end or 0.0)
    if stream.duration is not None and stream.duration > 0:
        stated, reached = float(stream.duration * stream.time_base), log.last_time or 0.0
    period = float(1 / stream.average_rate) if stream.average_rate else 0.0
    if stated is not None and reached + max(TRUNCATION_SLACK, 2 * period) < stated:
        log.truncated = True


# --- the thread --------------------------------------------------------------------------------


class _Closed(Exception):  # noqa: N818 - not an error: the consumer has gone
    pass


class _Pipe:
    """A queue bounded by items and by bytes that either end can close at any time."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._items: deque[tuple[Frame | SoundBlock, int]] = deque()
        self._bytes = 0
        self._finished = False
        self._closed = False
        self._error: BaseException | None = None
        _live_pipes.add(self)

    def put(self, item: Frame | SoundBlock) -> None:
        size = _bytes_of(item)
        with self._condition:
            while not self._closed and self._full(size):
                self._condition.wait()
            if self._closed:
                raise _Closed
            self._items.append((item, size))
            self._bytes += size
            self._condition.notify_all()

    def _full(self, size: int) -> bool:
        # One item always passes, however large it is.
        too_many = len(self._items) >= QUEUE_ITEMS or self._bytes + size > QUEUE_BYTES
        return bool(self._items) and too_many

    def get(self) -> Frame | SoundBlock | None:
        """The next item, None after the last; raises what the producer raised."""
        with self._condition:
            while not self._items and not self._finished and not self._closed:
                self._condition.wait()
            if self._items:
                item, size = self._items.popleft()
                self._bytes -= size
                self._condition.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    def finish(self, error: BaseException | None = None) -> None:
        with self._condition:
            self._finished, self._error = True, error
            self._condition.notify_all()

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._items.clear()
            self._condition.notify_all()


def _bytes_of(item: Frame | SoundBlock) -> int:
    if isinstance(item, SoundBlock):
        return item.samples.nbytes
    return item.luma.nbytes + (item.rgb.nbytes if item.rgb is not None else 0)


_live_pipes: WeakSet[_Pipe] = WeakSet()


@atexit.register
def _close_pipes() -> None:
    """A generator that was left half-read must not keep its thread busy while Python exits."""
    for pipe in list(_live_pipes):
        pipe.close()


def _fill(pipe: _Pipe, info: MediaInfo, fps: float, log: DecodeLog) -> None:
    """Body of the decoding thread."""
    try:
        for item in _read(info.path, log, _PictureReader(info, fps, log)):
            pipe.put(item)
    except _Closed:
        pipe.finish()
    except BaseException as error:  # noqa: BLE001 - it is raised again in the consumer's thread
        pipe.finish(error)
    else:
        pipe.finish()
