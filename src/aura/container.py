"""Opens untrusted media files and chooses what to decode in them.

Only the file itself is opened: no playlist, no list of parts, no pattern, no other protocol than
`file`; pictures beyond `MAX_PIXELS` are refused before they are decoded. No exception of PyAV
passes beyond this module.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import av
from av.stream import Disposition

from aura.errors import AuraError, InputNotFound, NoVideo, UnreadableMedia

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer

    from aura.timeline import DecodeLog

MAX_PICTURE_SIDE = 16_384  # pixels; what decoders themselves allow
MAX_PIXELS = 2**27  # 134 megapixels, 200 MB decoded: more is a bomb, not a video
FRAME_THREADS_PIXELS = 3840 * 2160  # above, pictures are too large to keep one per thread

HOPELESS_PACKETS = 300  # undecodable packets in a row before the first picture: give up
READ_RETRIES = 16  # failed reads in a row before the rest of the file counts as lost

# Self-contained formats only. Playlists (hls, dash, concat), numbered pictures and devices can
# name other files and are left out. Sound alone can be judged too, so its formats are here.
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,ivf,h264,hevc,m4v,obu,mxf,nut,gif,rm,dv,"
    "wav,mp3,aac,flac,ac3,eac3,amr,aiff,au,caf,w64"
)
# Pictures by their first bytes. The demuxer is `<name>_pipe`: it reads this one file, never a list.
STILL_MAGIC = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"BM": "BMP", b"II*\0": "TIFF"}
STILL_MAGIC |= {b"MM\0*": "TIFF", b"\0\0\1\0": "icon"}
STILL_DECODED = {"PNG", "JPEG", "BMP", "TIFF", "WebP"}
STILL_BRANDS = {b"heic", b"heix", b"mif1", b"avif"}
NOT_VIDEO = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
PLAYLIST_MAGIC = (b"#EXTM3U", b"ffconcat", b"file ", b"<?xml", b"<MPD", b"v=0", b"[playlist]")

av.logging.set_level(None)  # FFmpeg's own words would end up between ours on the terminal


class Tracks(NamedTuple):
    """The PyAV streams to decode, None where there is none, and what they have in common."""

    video: Any
    audio: Any
    zero: float  # time zero on the file's own clock, in seconds
    notes: tuple[str, ...]


def check_file(path: Path) -> int:
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


def still_format(path: Path) -> str | None:
    """Which kind of still picture a file is by its first bytes, None for anything else."""
    head = _head(path)
    for magic, kind in STILL_MAGIC.items():
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS:
        return "HEIF or AVIF"
    return None


@contextmanager
def opened(path: Path, *, stills: bool = False) -> Iterator[InputContainer]:
    """Open a container for the time of a `with` block.

    Args:
        path: the file. stills: whether a picture will do as well.

    Raises:
        UnreadableMedia: not one of `FORMATS`, or PyAV failed within the block.
        NoVideo: a still picture, where none is wanted or of a kind that can't be decoded.
    """
    still = still_format(path)
    if still is not None and not stills:
        raise NoVideo(f"{path} is a still picture ({still}); give a video file")
    if still is not None and still not in STILL_DECODED:
        raise NoVideo(f"{path} is a picture that is not decoded ({still}); save it as JPEG or PNG")
    # Left to choose, FFmpeg takes a picture's name for the pattern of a numbered series.
    format_name = f"{still.lower()}_pipe" if still else None
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": format_name or FORMATS,
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        # `file:` and an absolute path, so that no name can be taken for another protocol.
        container = av.open(
            f"file:{path.absolute()}",
            mode="r",
            format=format_name,
            options=options,
            metadata_errors="replace",
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
    still = still_format(path)
    if still is not None:
        return UnreadableMedia(
            f"{path} is a {still} picture that can't be decoded ({_reason(error)}); save it anew "
            "as JPEG or PNG"
        )
    head = _head(path)
    if head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(PLAYLIST_MAGIC):
        return UnreadableMedia(
            f"{path} is a playlist or list of files, which is not followed; give the video itself"
        )
    return UnreadableMedia(
        f"{path} is not a video that can be read ({_reason(error)}); it may be cut off or be "
        "another kind of file, download or export it again"
    )


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(64)
    except OSError:
        return b""


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)


def find_tracks(container: InputContainer, path: Path) -> Tracks:
    """Choose the picture and the sound track, and find time zero."""
    notes = []
    pictures = [s for s in container.streams.video if not s.disposition & NOT_VIDEO]
    sounds = list(container.streams.audio)
    videos = [s for s in pictures if s.codec_context is not None]
    audios = [s for s in sounds if s.codec_context is not None and s.codec_context.sample_rate]
    if pictures and not videos:
        raise UnreadableMedia(
            f"{path} holds pictures of a codec that can't be decoded here; convert it to H.264"
        )
    if sounds and not audios:
        notes.append("The sound track is of a codec that can't be decoded and was left out.")
    video = max(videos, key=_preference, default=None)
    audio = max(audios, key=lambda s: bool(s.disposition & Disposition.default), default=None)
    if video is not None:
        context = video.codec_context
        check_dimensions(path, context.width, context.height)
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
    return Tracks(video, audio, seconds, tuple(notes))


def _preference(stream: Any) -> tuple[bool, int]:
    context = stream.codec_context
    default = bool(stream.disposition & Disposition.default)
    return default, context.width * context.height


def check_dimensions(path: Path, width: int, height: int) -> None:
    """Refuse pictures that would fill the memory."""
    if max(width, height) > MAX_PICTURE_SIDE or width * height > MAX_PIXELS:
        raise UnreadableMedia(
            f"{path} has pictures of {width}x{height}, more than {MAX_PICTURE_SIDE} a side or "
            f"{MAX_PIXELS // 10**6} megapixels; scale it down first"
        )


def no_video(path: Path, tracks: Tracks) -> NoVideo:
    """The error for a file without a picture track."""
    what = "only sound" if tracks.audio is not None else "no picture track"
    return NoVideo(f"{path} has {what}; give a video file")


def stated_duration(container: InputContainer, stream: Any) -> float | None:
    """Seconds that the file says it lasts, None when it doesn't say."""
    if container.duration is not None and container.duration > 0:
        return container.duration / 1_000_000
    if stream.duration is not None and stream.duration > 0:
        return float(stream.duration * stream.time_base)
    return None


def first_picture(container: InputContainer, stream: Any, path: Path) -> Any:
    """Decode up to the first picture; `UnreadableMedia` when there is none."""
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
    raise nothing_decoded(path)


def nothing_decoded(path: Path) -> UnreadableMedia:
    """The error for a file whose packets are all broken."""
    return UnreadableMedia(
        f"{path} holds no picture that can be decoded; it may be cut off or damaged, "
        "download or export it again"
    )


def packets(container: InputContainer, streams: list[Any], log: DecodeLog) -> Iterator[Any]:
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
