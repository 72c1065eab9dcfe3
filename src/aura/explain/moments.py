"""A few pictures of a file once more: sought, not decoded from the beginning.

Each is told again by its time and, where the report lists it, by the checksum of its luma, so what
is shown is what was judged. In files whose times are broken, seeking may miss: then the file is
decoded as the analysis did.
"""

from __future__ import annotations

import time as clock
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av

from aura import media
from aura.container import find_tracks, opened
from aura.pictures import Frame, Orientation, PictureConverter, decode_size, luma_checksum

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAME_TIME = 1e-5  # seconds; reports keep six digits
READ_ON = 3.0  # seconds to the next moment up to which decoding on is cheaper than seeking
ALL_FROM = 0.5  # seconds before a moment from which on every picture is decoded
GIVE_UP = 1.0  # seconds after a moment at which it must have come


@dataclass(frozen=True, order=True)
class Moment:
    """A picture by its time in seconds, its number in the file, and its checksum if known."""

    time: float
    frame_id: int
    checksum: int | None = None


def pictures_at(
    info: media.MediaInfo, moments: Sequence[Moment], *, fps: float
) -> Iterator[tuple[Moment, Frame]]:
    """The pictures of these moments with RGB, one at a time, in order of time or later.

    Args:
        info: from `media.examine`. moments: of sampled pictures. fps: what they were sampled with.
    """
    missing = []
    for moment, frame in _sought(info, sorted(set(moments))):
        if frame is None:
            missing.append(moment)
        else:
            yield moment, frame
    if not missing:
        return
    left = {moment.frame_id: moment for moment in missing}
    for item in media.decode(info, fps=fps):
        if isinstance(item, Frame) and item.rgb is not None and item.index in left:
            yield left.pop(item.index), item
            if not left:
                return


def picture_near(info: media.MediaInfo, time: float, *, seconds: float) -> Frame | None:
    """The first picture at this time or later with RGB, else the last one before it.

    Args:
        info: from `media.examine`. time: in seconds of the clip.
        seconds: how long to look; then the last picture that was seen has to do.
    """
    if info.video is None:
        return None
    if info.kind == "image":
        return next((one for one in media.decode(info) if isinstance(one, Frame)), None)
    ends = clock.monotonic() + seconds
    last: tuple[Any, float] | None = None
    with opened(info.path) as container:
        tracks = find_tracks(container, info.path)
        if tracks.video is None:
            return None
        for last in _Seeker(container, tracks.video, tracks.zero).towards(time):
            if last[1] >= time - SAME_TIME or clock.monotonic() > ends:
                break
        if last is None:
            return None
        return _converter(info.video).convert(last[0], 0, last[1], sampled=True)


def _sought(
    info: media.MediaInfo, moments: Sequence[Moment]
) -> Iterator[tuple[Moment, Frame | None]]:
    if info.video is None or info.kind == "image":  # nothing to seek in: decoded again as a whole
        yield from ((moment, None) for moment in moments)
        return
    converter = _converter(info.video)
    with opened(info.path) as container:
        tracks = find_tracks(container, info.path)
        reader = _Seeker(container, tracks.video, tracks.zero) if tracks.video else None
        for moment in moments:
            found = None
            for picture, time in reader.towards(moment.time) if reader else ():
                if _is(picture, time, moment):
                    found = converter.convert(picture, moment.frame_id, time, sampled=True)
                    break
                if time > moment.time + GIVE_UP:
                    break
            yield moment, found


def _converter(video: media.VideoStream) -> PictureConverter:
    width, height = decode_size(video.width, video.height)
    coded = (width, height) if video.rotation % 180 == 0 else (height, width)
    return PictureConverter(coded, Orientation(video.rotation, video.mirrored))


class _Seeker:
    """Decodes from the key picture before a moment on, leaving out what nothing else needs."""

    def __init__(self, container: Any, stream: Any, zero: float) -> None:
        self._container, self._stream, self._zero = container, stream, zero
        self._reached: float | None = None
        self._target = 0.0
        self._pictures: Iterator[tuple[Any, float]] = iter(())

    def towards(self, time: float) -> Iterator[tuple[Any, float]]:
        """Pictures with their times, up to this moment and beyond it."""
        self._target = time
        if self._reached is None or not 0 < time - self._reached <= READ_ON:
            self._pictures = self._decode()
        for picture, when in self._pictures:
            self._reached = when
            yield picture, when

    def _decode(self) -> Iterator[tuple[Any, float]]:
        stream, context = self._stream, self._stream.codec_context
        try:
            place = int((self._target + self._zero) / stream.time_base)
            self._container.seek(place, stream=stream, backward=True)
            for packet in self._container.demux(stream):
                stamp = packet.pts if packet.pts is not None else packet.dts
                early = stamp is not None and (
                    float(stamp * stream.time_base) - self._zero < self._target - ALL_FROM
                )
                # Pictures that no other picture is made from can be left out on the way.
                context.skip_frame = "NONREF" if early else "DEFAULT"
                for picture in packet.decode():
                    stamp = picture.pts if picture.pts is not None else picture.dts
                    if stamp is not None and picture.time_base is not None:
                        yield picture, float(stamp * picture.time_base) - self._zero
        except (av.FFmpegError, OverflowError, TypeError, ZeroDivisionError):
            return


def _is(picture: Any, time: float, moment: Moment) -> bool:
    if abs(time - moment.time) > SAME_TIME:
        return False
    return moment.checksum is None or luma_checksum(picture) == moment.checksum
