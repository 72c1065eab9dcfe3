"""Write a changed copy of a clip: its pictures or its sound altered, the rest carried over.

The copy keeps the times of the original. Pictures are stored upright, as H.264 that is all but
lossless unless compression is the change; sound as 16 kHz mono PCM when it is the change, else as
it was.
"""

from __future__ import annotations

import io
import wave
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from aura import media
from aura.container import find_tracks, no_video, opened, packets
from aura.pictures import orientation
from aura.timeline import DecodeLog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Samples = NDArray[np.float32]

CLEAR_CRF = 10  # H.264 that the eye can't tell from its source
# Speed where quality is given; FFmpeg's own choice where compression is the change.
CLEAR_PRESET, PRESET = "ultrafast", "medium"
CLOCK = Fraction(1, 90_000)  # seconds; fine enough for every frame rate
SOUND_CLOCK = Fraction(1, 16_000)
SOUND_PIECE = 16_000  # samples encoded at once


def with_pictures(
    source: Path,
    target: Path,
    change: Callable[[Picture], Picture] | None,
    crf: float = CLEAR_CRF,
    preset: str | None = None,
) -> Path:
    """A copy with every picture changed (None: as it is) and encoded at `crf`.

    Args:
        target: a Matroska file (.mkv), which holds any codec of sound.
        preset: of x264; by default `PRESET` where compression is the change, else the fastest.

    Raises:
        UnreadableMedia, NoVideo: the source can't be decoded.
    """
    with opened(source) as container:
        tracks = find_tracks(container, source)
        if tracks.video is None:
            raise no_video(source, tracks)
        streams = [one for one in (tracks.video, tracks.audio) if one is not None]
        with av.open(str(target), "w") as output:
            rate = tracks.video.average_rate or Fraction(25)
            video = _video_stream(output, rate, crf, preset)
            sound: Any = None
            if tracks.audio is not None:
                sound = output.add_stream_from_template(tracks.audio)
            held = []  # sound before the first picture: a header is written with the first packet
            last = -1
            for packet in packets(container, streams, DecodeLog()):
                if sound is not None and packet.stream_index == tracks.audio.index:
                    # What lies before time zero (a codec's run-up) would push all else back.
                    if packet.dts is not None and packet.dts * packet.time_base >= tracks.zero:
                        packet.stream = sound
                        held.append(packet)
                    if video.codec_context.is_open:
                        output.mux(held)
                        held = []
                    continue
                for picture in _pictures(packet):
                    raw = picture.pts if picture.pts is not None else picture.dts
                    if raw is None:
                        continue
                    pts = round(float(raw * picture.time_base) / CLOCK)
                    if pts <= last:
                        continue  # a copy of a picture, or a broken time
                    image = orientation(picture).apply(picture.to_ndarray(format="rgb24"))
                    image = image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2]
                    last = pts
                    _encode(output, video, change(image) if change else image, pts)
            if video.codec_context.is_open:
                output.mux(held)
                output.mux(video.encode(None))
    return target


def with_sound(source: Path, target: Path, change: Callable[[Samples], Samples]) -> Path:
    """A copy with its sound changed and its picture track carried over bit for bit.

    Args:
        target: a Matroska file (.mkv).

    Raises:
        InputError: there is no sound. UnreadableMedia: the source can't be decoded.
    """
    with media.extract_audio(source) as wave_file:
        samples = _read_wave(wave_file)
    changed = change(samples)
    with opened(source) as container:
        tracks = find_tracks(container, source)
        if tracks.video is None:
            raise no_video(source, tracks)
        with av.open(str(target), "w") as output:
            video: Any = output.add_stream_from_template(tracks.video)
            sound: Any = output.add_stream("pcm_s16le", rate=16_000)
            sound.codec_context.layout = "mono"
            # `extract_audio` counts from the file's own zero.
            _encode_sound(output, sound, changed, round(tracks.zero / SOUND_CLOCK))
            for packet in packets(container, [tracks.video], DecodeLog()):
                if packet.dts is not None:
                    packet.stream = video
                    output.mux(packet)
    return target


def recoded_pictures(pictures: NDArray[np.uint8], fps: float, crf: float) -> NDArray[np.uint8]:
    """Pictures (N, H, W, 3) RGB after H.264 at `crf`, in memory; sides must be even."""
    data = io.BytesIO()
    with av.open(data, "w", format="matroska") as output:
        video = _video_stream(output, Fraction(fps).limit_denominator(1001), crf)
        for index, picture in enumerate(pictures):
            _encode(output, video, picture, round(index / fps / CLOCK))
        if video.codec_context.is_open:
            output.mux(video.encode(None))
    data.seek(0)
    with av.open(data, "r") as source:
        decoded = [one.to_ndarray(format="rgb24") for one in source.decode(video=0)]
    return np.stack(decoded) if decoded else pictures


def _video_stream(output: Any, rate: Fraction, crf: float, preset: str | None = None) -> Any:
    preset = preset or (CLEAR_PRESET if crf <= CLEAR_CRF else PRESET)
    video = output.add_stream("libx264", rate=rate, options={"preset": preset, "crf": f"{crf:g}"})
    video.codec_context.time_base = CLOCK
    video.pix_fmt = "yuv420p"
    return video


def _encode(output: Any, video: Any, image: Picture, pts: int) -> None:
    if not video.codec_context.is_open:
        video.height, video.width = image.shape[:2]
        video.codec_context.open()
    if (video.height, video.width) != image.shape[:2]:
        return  # a file that changes its size midway; what follows can't stand in one track
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    frame.pts, frame.time_base = pts, CLOCK
    output.mux(video.encode(frame))


def _pictures(packet: Any) -> Iterator[Any]:
    try:
        yield from packet.decode()
    except av.FFmpegError:
        return  # as the analysis does: what can't be decoded is left out


def _encode_sound(output: Any, stream: Any, samples: Samples, start: int) -> None:
    values = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    for first in range(0, len(values), SOUND_PIECE):
        piece = np.ascontiguousarray(values[None, first : first + SOUND_PIECE])
        frame = av.AudioFrame.from_ndarray(piece, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, start + first, SOUND_CLOCK
        output.mux(stream.encode(frame))
    output.mux(stream.encode(None))


def _read_wave(path: Path) -> Samples:
    with wave.open(str(path), "rb") as file:
        data = file.readframes(file.getnframes())
    return np.asarray(np.frombuffer(data, "<i2") / 32767, np.float32)
