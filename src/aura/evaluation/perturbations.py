"""What happens to clips on their way: damage to pictures and to sound, at five levels.

Pictures: the perturbations of DeeperForensics-1.0 (Jiang et al., CVPR 2020) with the parameters of
its published code, commit 4f6ecff. One differs: under the name JPEG that code scales pictures down
and up again; here `jpeg` is JPEG at falling quality, and the scaling is `resize`.

Sound has no such agreed set; the levels here are ours: noise from barely audible to nearly as loud
as the speech, codecs from good to hardly intelligible, rooms from furnished to echoing.

Level 1 is mild, 5 severe. The same seed gives the same damage.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Picture = NDArray[np.uint8]  # (H, W, 3) RGB
Samples = NDArray[np.float32]  # (n,) mono in [-1, 1] at SAMPLE_RATE

LEVELS = (1, 2, 3, 4, 5)
SAMPLE_RATE = 16_000  # Hz; what detectors hear
CONTROL = "control"  # written anew and otherwise untouched: what the writing itself costs

BLOCK_SIDE = 8  # pixels
BLOCK_REFERENCE = 256  # pixels of the short side for which the published block counts hold
BLOCK_GREY = 128
BLUR_SIGMA = 1 / 6  # of the kernel's side
STUDIO_LUMA, STUDIO_CHROMA = 219.0, 224.0  # steps of 8-bit studio-range components
ROOM_DECAY = 6.908  # natural logarithm of 1000: sound has faded by 60 dB
CODEC_LOOKAHEAD = 4096  # samples searched for a codec's delay, 256 ms


@dataclass(frozen=True)
class Perturbation:
    """One kind of damage.

    `parameters` by level; `unit` tells them in words, with {} for the number. One of: `picture`
    changes a picture, `crf` tells that H.264 does it, `sound` changes the whole sound.
    """

    name: str
    parameters: tuple[float, ...]
    unit: str
    picture: Callable[[Picture, float, np.random.Generator], Picture] | None = None
    sound: Callable[[Samples, float, np.random.Generator], Samples] | None = None
    crf: bool = False

    @property
    def modality(self) -> str:
        """`video` or `sound`."""
        return "sound" if self.sound is not None else "video"

    def setting(self, level: int) -> str:
        """The parameter of a level in words."""
        return self.unit.format(f"{self.parameters[level - 1]:g}")


def _saturation(picture: Picture, factor: float, random: np.random.Generator) -> Picture:
    del random
    parts = _components(picture)
    parts[..., 1:] = 128 + (parts[..., 1:] - 128) * factor
    return _picture(parts)


def _contrast(picture: Picture, factor: float, random: np.random.Generator) -> Picture:
    del random
    return (picture.astype(np.float32) * factor).astype(np.uint8)


def _blocks(picture: Picture, count: float, random: np.random.Generator) -> Picture:
    """Grey squares at random places, as many more as the picture is larger."""
    height, width = picture.shape[:2]
    side = min(BLOCK_SIDE, height, width)
    changed = picture.copy()
    for _ in range(max(1, min(height, width) // BLOCK_REFERENCE) * int(count)):
        top, left = random.integers(height - side + 1), random.integers(width - side + 1)
        changed[top : top + side, left : left + side] = BLOCK_GREY
    return changed


def _noise(picture: Picture, variance: float, random: np.random.Generator) -> Picture:
    """White noise of equal variance (of values in [0, 1]) in studio-range Y, Cb and Cr."""
    parts = _components(picture)
    noise = random.standard_normal(parts.shape, dtype=np.float32) * np.float32(np.sqrt(variance))
    gain = 255 * np.array([255 / STUDIO_LUMA, 255 / STUDIO_CHROMA, 255 / STUDIO_CHROMA], np.float32)
    return _picture(parts + noise * gain)


def _blur(picture: Picture, side: float, random: np.random.Generator) -> Picture:
    del random
    blurred = cv2.GaussianBlur(picture, (int(side), int(side)), side * BLUR_SIGMA)
    return np.asarray(blurred, np.uint8)


def _jpeg(picture: Picture, quality: float, random: np.random.Generator) -> Picture:
    del random
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    _, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), settings)
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def _resize(picture: Picture, divisor: float, random: np.random.Generator) -> Picture:
    del random
    height, width = picture.shape[:2]
    small = (max(1, width // int(divisor)), max(1, height // int(divisor)))
    return np.asarray(cv2.resize(cv2.resize(picture, small), (width, height)), np.uint8)


def _components(picture: Picture) -> NDArray[np.float32]:
    """(H, W, 3) float32 Y, Cr, Cb in [0, 255]."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb), np.float32)


def _picture(parts: NDArray[np.float32]) -> Picture:
    whole = np.clip(np.round(parts), 0, 255).astype(np.uint8)
    return np.asarray(cv2.cvtColor(whole, cv2.COLOR_YCrCb2RGB), np.uint8)


def _sound_noise(samples: Samples, ratio: float, random: np.random.Generator) -> Samples:
    """Pink noise (power falls with frequency, as in rooms), `ratio` dB below the whole sound."""
    if len(samples) == 0:
        return samples
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, len(samples))
    level = _rms(samples) / max(_rms(noise), np.finfo(float).tiny) * 10 ** (-ratio / 20)
    return np.clip(samples + noise * level, -1, 1).astype(np.float32)


def _room(samples: Samples, seconds: float, random: np.random.Generator) -> Samples:
    """A room whose echo fades by 60 dB in `seconds`: the sound itself and decaying noise.

    Polack's statistical model (1988). Direct sound and echo are equally strong, which is how it is
    at the critical distance of a room; loudness stays.
    """
    length = max(1, int(seconds * SAMPLE_RATE))
    fade = np.exp(-ROOM_DECAY * np.arange(length) / length)
    response = random.standard_normal(length) * fade
    response /= max(float(np.sqrt((response**2).sum())), np.finfo(float).tiny)
    response[0] += 1.0  # the direct sound, so that nothing moves in time
    size = len(samples) + length
    echoed = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(response, size), size)
    echoed = echoed[: len(samples)]
    gain = _rms(samples) / max(_rms(echoed), np.finfo(float).tiny)
    return np.clip(echoed * gain, -1, 1).astype(np.float32)


def _rms(samples: NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)))) if len(samples) else 0.0


def _opus(samples: Samples, rate: float, random: np.random.Generator) -> Samples:
    del random
    return through_codec(samples, "libopus", "ogg", int(rate * 1000), 48_000)


def _mp3(samples: Samples, rate: float, random: np.random.Generator) -> Samples:
    del random
    return through_codec(samples, "libmp3lame", "mp3", int(rate * 1000), SAMPLE_RATE)


def through_codec(
    samples: Samples, codec: str, container: str, bit_rate: int, rate: int
) -> Samples:
    """Encode, decode, and put back in step: a codec's own delay is found and taken out.

    Args:
        samples: at `SAMPLE_RATE`. bit_rate: bits a second. rate: that the codec works at, Hz.
    """
    if len(samples) == 0:
        return samples
    heard = _decode_sound(_encode_sound(samples, codec, container, bit_rate, rate), container)
    return _in_step(heard, samples)


def _encode_sound(
    samples: Samples, codec: str, container: str, bit_rate: int, rate: int
) -> io.BytesIO:
    data = io.BytesIO()
    with av.open(data, "w", format=container) as output:
        stream: Any = output.add_stream(codec, rate=rate)
        stream.codec_context.layout = "mono"
        stream.codec_context.bit_rate = bit_rate
        resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate, frame.pts = SAMPLE_RATE, 0
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    data.seek(0)
    return data


def _decode_sound(data: io.BytesIO, container: str) -> Samples:
    pieces = []
    with av.open(data, "r", format=container) as source:
        resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE)
        for frame in source.decode(audio=0):
            frame.pts = None
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    return np.concatenate(pieces).astype(np.float32) if pieces else np.zeros(0, np.float32)


def _in_step(heard: Samples, reference: Samples) -> Samples:
    """Shift by the lag of the highest correlation, then cut or fill to the reference's length."""
    size = 1 << int(np.ceil(np.log2(len(heard) + len(reference) + 1)))
    correlation = np.fft.irfft(
        np.fft.rfft(heard, size) * np.conj(np.fft.rfft(reference, size)), size
    )
    lags = np.r_[0:CODEC_LOOKAHEAD, -CODEC_LOOKAHEAD:0]
    lag = int(lags[np.argmax(correlation[lags])])
    moved = heard[lag:] if lag >= 0 else np.r_[np.zeros(-lag, np.float32), heard]
    out = np.zeros(len(reference), np.float32)
    out[: min(len(moved), len(out))] = moved[: len(out)]
    return np.clip(out, -1, 1)


PERTURBATIONS = {
    one.name: one
    for one in (
        Perturbation("saturation", (0.4, 0.3, 0.2, 0.1, 0.0), "{} of the colour", _saturation),
        Perturbation("contrast", (0.85, 0.725, 0.6, 0.475, 0.35), "{} of the values", _contrast),
        Perturbation("blocks", (16, 32, 48, 64, 80), "{} squares of 8 pixels per 256", _blocks),
        Perturbation("noise", (0.001, 0.002, 0.005, 0.01, 0.05), "variance {}", _noise),
        Perturbation("blur", (7, 9, 13, 17, 21), "kernel of {} pixels", _blur),
        Perturbation("jpeg", (60, 40, 25, 15, 8), "JPEG quality {}", _jpeg),
        Perturbation("resize", (2, 3, 4, 5, 6), "down and up {} times", _resize),
        Perturbation("compression", (30, 32, 35, 38, 40), "H.264 at CRF {}", crf=True),
        Perturbation("sound-noise", (30, 20, 15, 10, 5), "pink noise at {} dB", sound=_sound_noise),
        Perturbation("sound-opus", (24, 16, 12, 8, 6), "Opus at {} kb/s", sound=_opus),
        Perturbation("sound-mp3", (48, 32, 24, 16, 8), "MP3 at {} kb/s", sound=_mp3),
        Perturbation("sound-room", (0.2, 0.4, 0.7, 1.1, 1.6), "echo of {} s", sound=_room),
    )
}
