"""Sound through a low-rate codec and back, in memory: as long as before and in the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

import av
import numpy as np
from scipy.signal import resample_poly

from aura.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
TELEPHONE_RATE = 8_000  # Hz; G.711
MU = 255.0  # G.711's mu-law


class _Codec(NamedTuple):
    encoder: str
    decoder: str
    sample_format: str
    delay: int  # samples in front that the decoder does not skip by itself; the tests measure it


# Decoders of MP3 and Opus are told by the encoder's packets what to skip; raw AAC says nothing.
_CODECS = {
    "aac": _Codec("aac", "aac", "fltp", 1024),
    "mp3": _Codec("libmp3lame", "mp3float", "fltp", 0),
    "opus": _Codec("libopus", "libopus", "flt", 0),
}
NAMES = (*_CODECS, "mu-law")


def through_codec(
    samples: NDArray[np.float32], codec: str, bit_rate: int = 32_000
) -> NDArray[np.float32]:
    """The sound after coding and decoding; (n,) float32 at 16 kHz in and out.

    Args:
        samples: in [-1, 1]. codec: one of `NAMES`.
        bit_rate: bit/s; `mu-law` (telephone: 8 kHz, 8 bit) has only one.

    Raises:
        UsageError: an unknown codec or a rate that it does not know.
    """
    if codec not in NAMES:
        raise UsageError(f"there is no codec {codec!r}; choose one of {', '.join(NAMES)}")
    if len(samples) == 0:
        return samples
    if codec == "mu-law":
        return _telephone(samples)
    try:
        decoded = _coded(samples, _CODECS[codec], bit_rate)
    except av.FFmpegError as error:
        raise UsageError(f"{codec} can't code sound at {bit_rate} bit/s: {error}") from None
    decoded = decoded[_CODECS[codec].delay :]
    return np.pad(decoded, (0, max(0, len(samples) - len(decoded))))[: len(samples)]


def _coded(samples: NDArray[np.float32], codec: _Codec, bit_rate: int) -> NDArray[np.float32]:
    encoder = cast("av.AudioCodecContext", av.CodecContext.create(codec.encoder, "w"))
    encoder.sample_rate, encoder.layout = SAMPLE_RATE, "mono"
    encoder.format = codec.sample_format
    encoder.bit_rate = bit_rate
    encoder.thread_count = 1
    # A frame of silence at the end pushes the codec's delay out.
    sound = np.pad(samples, (0, SAMPLE_RATE // 8)).astype(np.float32)[None]
    frame = av.AudioFrame.from_ndarray(sound, codec.sample_format, "mono")
    frame.sample_rate = SAMPLE_RATE
    packets = [*encoder.encode(frame), *encoder.encode(None)]
    decoder = cast("av.AudioCodecContext", av.CodecContext.create(codec.decoder, "r"))
    decoder.extradata = encoder.extradata
    if codec.decoder == "libopus":
        decoder.sample_rate, decoder.layout = SAMPLE_RATE, "mono"
    convert = av.AudioResampler("fltp", "mono", SAMPLE_RATE)
    frames = [
        out
        for packet in [*packets, None]
        for decoded in decoder.decode(packet)
        for out in convert.resample(decoded)
    ]
    frames += convert.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]).astype(np.float32)


def _telephone(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """8 kHz and logarithmic 8 bit; the filters are symmetric, so nothing is delayed."""
    narrow = np.clip(resample_poly(samples, TELEPHONE_RATE, SAMPLE_RATE), -1.0, 1.0)
    pressed = np.sign(narrow) * np.log1p(MU * np.abs(narrow)) / np.log1p(MU)
    steps = np.round(pressed * 127.0) / 127.0
    opened = np.sign(steps) * np.expm1(np.abs(steps) * np.log1p(MU)) / MU
    wide = resample_poly(opened, SAMPLE_RATE, TELEPHONE_RATE)
    return np.pad(wide, (0, max(0, len(samples) - len(wide))))[: len(samples)].astype(np.float32)
