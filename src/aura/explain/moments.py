"""A few pictures of a file once more: sought, not decoded from the beginning.

Each is told again by its time and, where the report lists it, by the checksum of its luma, so what
is shown is what was judged. In files whose times are broken, seeking may miss: then the file is
decoded as the analysis did.
"""

from __future__ import annotations

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
        info: from `media.probe`. moments: of sampled pictures. fps: what they were sampled with.
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


def _sought(
    info: media.MediaInfo, moments: Sequence[Moment]
) -> Iterator[tuple[Moment, Frame | None]]:
    video = info.video
    width, height = decode_size(video.width, video.height)
    coded = (width, height) if video.rotation % 180 == 0 else (height, width)
    converter = PictureConverter(coded, Orientation(video.rotation, video.mirrored))
    with opened(info.path) as container:
        tracks = find_tracks(container, info.path)
        stream = tracks.video
        reached: float | None = None
        pictures: Iterator[Any] = iter(())
        for moment in moments:
            found = None
            if stream is not None and stream.time_base:
                if reached is None or not 0 < moment.time - reached <= READ_ON:
                    pictures = _from(container, stream, moment.time + tracks.zero)
                for picture, time in _timed(pictures, tracks.zero):
                    reached = time
                    if _is(picture, time, moment):
                        found = converter.convert(picture, moment.frame_id, time, sampled=True)
                        break
                    if time > moment.time + GIVE_UP:
                        break
            yield moment, found


def _from(container: Any, stream: Any, seconds: float) -> Iterator[Any]:
    """Pictures from the key picture at or before a time on; none where that can't be done."""
    try:
        container.seek(int(seconds / stream.time_base), stream=stream, backward=True)
        yield from container.decode(stream)
    except (av.FFmpegError, OverflowError):
        return


def _timed(pictures: Iterator[Any], zero: float) -> Iterator[tuple[Any, float]]:
    for picture in pictures:
        stamp = picture.pts if picture.pts is not None else picture.dts
        if stamp is not None and picture.time_base is not None:
            yield picture, float(stamp * picture.time_base) - zero


def _is(picture: Any, time: float, moment: Moment) -> bool:
    if abs(time - moment.time) > SAME_TIME:
        return False
    return moment.checksum is None or luma_checksum(picture) == moment.checksum
