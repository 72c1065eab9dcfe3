"""Makes small real media files for tests, with PyAV's own encoders.

`write_clip` encodes any row of pictures with any sound; the other functions make pictures and
sounds worth encoding. Everything is seeded: the same call writes the same pictures.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

Picture = NDArray[np.uint8]  # (H, W, 3) RGB

TIME_BASE = Fraction(1, 90_000)  # fine enough for every frame rate and for odd timestamps
FAST = {
    "libx264": {"preset": "ultrafast", "crf": "20"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
    "libvpx": {"deadline": "realtime", "cpu-used": "8"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "libsvtav1": {"preset": "12"},
}


@dataclass(frozen=True)
class Sound:
    """Sound for a clip: `samples` (channels, n) float32 in [-1, 1], first heard at `start` s."""

    samples: NDArray[np.float32]
    rate: int = 44_100
    layout: str = "stereo"
    codec: str = "aac"
    start: float = 0.0


def has_encoder(codec: str) -> bool:
    """Whether this build of PyAV can encode `codec`."""
    try:
        av.codec.Codec(codec, "w")
    except ValueError:
        return False
    return True


def write_clip(
    path: Path,
    frames: Iterable[Picture],
    *,
    fps: float = 25,
    codec: str = "libx264",
    pixel_format: str | None = None,
    audio: Sound | None = None,
    rotation: int = 0,
    pts: Sequence[float] | None = None,
    start: float = 0.0,
    options: dict[str, str] | None = None,
    container: str | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode a file; sound and pictures are interleaved.

    Args:
        path: its suffix picks the container unless `container` names one.
        frames: (H, W, 3) RGB pictures of one size, made while they are encoded.
        rotation: quarter turns clockwise, in degrees, by which a player shall turn the picture.
        pts: times of the pictures in seconds (default: `fps` a second from `start` on).
    """
    container_options = container_options or {}
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", format=container, options=container_options) as output:
        pictures = iter(frames)
        first = next(pictures)
        video = output.add_stream(
            codec, rate=rate, options={**FAST.get(codec, {}), **(options or {})}
        )
        video.height, video.width = first.shape[:2]
        video.pix_fmt = pixel_format or ("yuvj420p" if codec == "mjpeg" else "yuv420p")
        # AVI counts pictures instead of telling times.
        clock = 1 / rate if path.suffix == ".avi" else TIME_BASE
        video.codec_context.time_base = clock
        if rotation:
            video.set_display_rotation(-rotation)
        sound = _SoundWriter(output, audio) if audio else None
        for index, picture in enumerate(_chain(first, pictures)):
            time = start + index / fps if pts is None else pts[index]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = round(time / clock), clock
            output.mux(video.encode(frame))
            if sound:
                sound.write_until(time + 0.1)
        output.mux(video.encode())
        if sound:
            sound.close()
    if codec == "libsvtav1" and hasattr(os, "sched_setscheduler"):
        # As root this encoder gives the calling thread real-time priority and leaves it there:
        # everything that the tests start later would starve the rest of the machine.
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return path


def write_raw_times(path: Path, frames: Iterable[Picture], pts: Sequence[float]) -> Path:
    """A Matroska or NUT file whose packets carry exactly these times, sane or not."""
    plain = write_clip(path.with_suffix(".avi"), frames, codec="mjpeg")
    with av.open(str(plain)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        packets = [packet for packet in source.demux() if packet.size]
        for order, (packet, time) in enumerate(zip(packets, pts, strict=True)):
            packet.stream = stream
            # The muxer wants rising decoding times before the presentation times.
            packet.pts, packet.dts = round(time / packet.time_base), order - 100
            target.mux_one(packet)
    plain.unlink()
    return path


def write_sound(path: Path, audio: Sound) -> Path:
    """Encode a file with sound only."""
    with av.open(str(path), "w") as output:
        _SoundWriter(output, audio).close()
    return path


class _SoundWriter:
    def __init__(self, output: av.container.OutputContainer, audio: Sound) -> None:
        self._output = output
        self._audio = audio
        self._stream = output.add_stream(audio.codec, rate=audio.rate, layout=audio.layout)
        self._position = 0

    def write_until(self, time: float) -> None:
        end = round((time - self._audio.start) * self._audio.rate)
        end = min(end, self._audio.samples.shape[1])
        if end > self._position:
            samples = np.ascontiguousarray(self._audio.samples[:, self._position : end])
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=self._audio.layout)
            frame.sample_rate = self._audio.rate
            frame.time_base = Fraction(1, self._audio.rate)
            frame.pts = round(self._audio.start * self._audio.rate) + self._position
            self._output.mux(self._stream.encode(frame))
            self._position = end

    def close(self) -> None:
        self.write_until(float("1e6"))
        self._output.mux(self._stream.encode())


def _chain(first: Picture, rest: Iterator[Picture]) -> Iterator[Picture]:
    yield first
    yield from rest


def texture(width: int, height: int, seed: int = 0) -> Picture:
    """A picture with detail at several scales, as footage has it and flat colours don't."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.float32)
    for cell, weight in ((64, 0.5), (16, 0.3), (4, 0.2)):
        grid = rng.uniform(0, 255, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        picture += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.uint8)


def moving_texture(count: int, width: int = 320, height: int = 240) -> Iterator[Picture]:
    """A texture that drifts by three pixels a picture."""
    base = texture(width, height)
    for index in range(count):
        yield np.roll(base, 3 * index, axis=1)


def flat(level: int, width: int = 320, height: int = 240) -> Picture:
    """A grey picture of one level."""
    return np.full((height, width, 3), level, np.uint8)


def camera_over(
    image: Picture, count: int, width: int = 320, height: int = 240, sway: float = 0.02
) -> Iterator[Picture]:
    """A still (such as a portrait) filmed by a hand that sways: cover-cropped, then moved."""
    scale = max(width / image.shape[1], height / image.shape[0]) * (1 + 2 * sway)
    for index in range(count):
        x, y = sway * width * np.sin(index / 7), sway * height * np.cos(index / 9)
        matrix = np.array(
            [
                [scale, 0, (width - scale * image.shape[1]) / 2 + x],
                [0, scale, (height - scale * image.shape[0]) / 2 + y],
            ]
        )
        yield cv2.warpAffine(
            image, matrix, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
        )


def head(portrait: Picture, count: int, width: int = 640, height: int = 360) -> Iterator[Picture]:
    """Head and shoulders of the portrait, filmed by a hand that sways."""
    return camera_over(portrait[:288], count, width, height)


def scene(portrait: Picture, places: Sequence[tuple[int, int]], seed: int = 0) -> Picture:
    """640x360 of texture with portraits of 220 pixels at (x, y); the second one looks different."""
    picture = texture(640, 360, seed)
    face = cv2.resize(portrait[10:300, 80:370], (220, 220), interpolation=cv2.INTER_AREA)
    other = (face[:, ::-1] * 0.7).astype(np.uint8)
    for (x, y), inset in zip(places, (face, other), strict=False):
        picture[y : y + 220, x : x + 220] = inset
    return picture


def corners(width: int = 320, height: int = 240) -> Picture:
    """Black, with a white top left quarter: shows which way up a picture is."""
    picture = flat(16, width, height)
    picture[: height // 2, : width // 2] = 235
    return picture


def tone(
    seconds: float, rate: int = 44_100, channels: int = 2, frequency: float = 440.0
) -> NDArray[np.float32]:
    """A sine at half scale, alike in all channels: (channels, n) float32."""
    wave = 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[None].astype(np.float32), channels, axis=0)


def click(at: float, seconds: float, rate: int = 44_100, channels: int = 2) -> NDArray[np.float32]:
    """Silence with a 20 ms burst of 1 kHz that begins at `at` seconds."""
    samples = np.zeros((channels, round(seconds * rate)), np.float32)
    begin, burst = round(at * rate), np.arange(round(0.02 * rate)) / rate
    samples[:, begin : begin + len(burst)] = 0.8 * np.sin(2 * np.pi * 1000 * burst)
    return samples
