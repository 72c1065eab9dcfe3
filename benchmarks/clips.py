"""The clips that are measured: the project's sample as 720p with a camera's noise.

Decoding is what everything else is compared with, so it must cost what it costs on ordinary
footage: picture noise and a detailed background bring the bit rate to that of a phone or a video
call, and x264's `medium` preset uses the tools (B-frames, CABAC) that real files use.
"""

from __future__ import annotations

import os
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np

from aura.sample import render_sample

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

VERSION = 1  # part of the file names: raise it when the clips change
WIDTH, HEIGHT, FPS = 1280, 720, 25
CRF, PRESET = 23, "medium"
BASE_SECONDS = 30  # what is encoded; longer clips repeat its packets
NOISE = 3.5  # grey levels of camera noise, standard deviation
NOISE_PICTURES = 16  # different noise pictures, each shifted at random when it is used
SEED = 20261121
SOUND_RATE = 48_000


def cache_dir() -> Path:
    """Where the clips are kept between runs: AURA_BENCH_CACHE, or the user's cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("AURA_BENCH_CACHE") or Path(home) / "aura-bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clip(seconds: int) -> Path:
    """A talking head in 720p of so many seconds, a multiple of `BASE_SECONDS`; made once."""
    path = cache_dir() / f"talk-720p-{seconds}s-v{VERSION}.mp4"
    if path.is_file():
        return path
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        if seconds == BASE_SECONDS:
            _encode(render_sample(Path(folder) / "sample.mp4"), unfinished)
        else:
            _repeat(clip(BASE_SECONDS), unfinished, seconds // BASE_SECONDS)
        unfinished.replace(path)
    return path


def _encode(sample: Path, target: Path) -> None:
    pictures, sound = _pictures(sample), _sound(sample, BASE_SECONDS)
    with av.open(str(target), "w") as output:
        video: Any = output.add_stream(
            "libx264", rate=FPS, options={"crf": str(CRF), "preset": PRESET}
        )
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio: Any = output.add_stream("aac", rate=SOUND_RATE, layout="mono")
        for index in range(BASE_SECONDS * FPS):
            frame = av.VideoFrame.from_ndarray(next(pictures), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            output.mux(video.encode(frame))
            output.mux(audio.encode(_block(sound, index)))
        output.mux(video.encode())
        output.mux(audio.encode())


def _pictures(sample: Path) -> Iterator[NDArray[np.uint8]]:
    """The sample over and over, enlarged to the full height, sides mirrored, with fresh noise."""
    random = np.random.default_rng(SEED)
    noise = random.normal(0, NOISE, (NOISE_PICTURES, HEIGHT, WIDTH)).round().astype(np.int16)
    while True:
        with av.open(str(sample)) as container:
            for frame in container.decode(video=0):
                small = frame.to_ndarray(format="rgb24")
                width = round(small.shape[1] * HEIGHT / small.shape[0])
                large = cv2.resize(small, (width, HEIGHT), interpolation=cv2.INTER_CUBIC)
                left = (WIDTH - width) // 2
                wide = cv2.copyMakeBorder(
                    large, 0, 0, left, WIDTH - width - left, cv2.BORDER_REFLECT_101
                )
                grain = np.roll(
                    noise[random.integers(NOISE_PICTURES)],
                    tuple(random.integers(0, (HEIGHT, WIDTH))),
                    (0, 1),
                )
                yield (wide + grain[..., None]).clip(0, 255).astype(np.uint8)


def _sound(sample: Path, seconds: int) -> NDArray[np.int16]:
    """The sample's voice over and over, in step with its pictures; (n,) int16."""
    with av.open(str(sample)) as container:
        pictures = sum(1 for _ in container.decode(video=0))
    once = np.zeros(pictures * SOUND_RATE // FPS, np.int16)
    voice = _decoded_sound(sample)[: len(once)]
    once[: len(voice)] = voice
    return np.resize(once, seconds * SOUND_RATE)


def _decoded_sound(path: Path) -> NDArray[np.int16]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SOUND_RATE)
    with av.open(str(path)) as container:
        blocks = [
            part.to_ndarray()[0]
            for frame in container.decode(audio=0)
            for part in resampler.resample(frame)
        ]
    return np.concatenate(blocks)


def _block(sound: NDArray[np.int16], index: int) -> av.AudioFrame:
    """The sound during picture `index`."""
    step = SOUND_RATE // FPS
    part = np.ascontiguousarray(sound[None, index * step : (index + 1) * step])
    frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = (
        SOUND_RATE,
        index * step,
        Fraction(1, SOUND_RATE),
    )
    return frame


def _repeat(source: Path, target: Path, times: int) -> None:
    """The same pictures again and again, copied as packets; the sound encoded through."""
    with av.open(str(source)) as first, av.open(str(target), "w") as output:
        template: Any = first.streams.video[0]
        video: Any = output.add_stream_from_template(template)
        audio: Any = output.add_stream("aac", rate=SOUND_RATE, layout="mono")
        sound = np.resize(_decoded_sound(source), BASE_SECONDS * SOUND_RATE)
        length = round(BASE_SECONDS / template.time_base)
        for turn in range(times):
            first.seek(0)
            for packet in first.demux(template):
                if packet.dts is None:
                    continue
                packet.pts += turn * length
                packet.dts += turn * length
                packet.stream = video
                output.mux(packet)
            for index in range(BASE_SECONDS * FPS):
                block = _block(sound, index)
                block.pts = (turn * BASE_SECONDS * FPS + index) * (SOUND_RATE // FPS)
                output.mux(audio.encode(block))
        output.mux(audio.encode())
