"""Pictures through a real video codec and back, in memory.

Compression is the treatment that matters most: a blend detector's AUC on real clips fell to chance
without it. Encoders run in one thread, and the same pictures give the same bytes.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av
import numpy as np

from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.training.augment.picture import Image

RATE = 25  # pictures a second as the encoder is told; only its rate control cares
# Encoder by codec, and the decoder that reads it back.
CODECS = {
    "h264": ("libx264", "h264"),
    "hevc": ("libx265", "hevc"),
    "mpeg4": ("mpeg4", "mpeg4"),
    "vp8": ("libvpx", "vp8"),
}
# Always told. x264's macroblock tree over B-frames gave other bytes in each run (x264 of FFmpeg in
# PyAV 18.1, one thread, 2026); x265 writes its log to the terminal and starts threads of its own.
ALWAYS = {
    "h264": {"x264-params": "mbtree=0"},
    "hevc": {"x265-params": "log-level=none:pools=none:frame-threads=1"},
}


def reencode(
    pictures: Sequence[Image], codec: str, options: Mapping[str, str], bit_rate: int | None = None
) -> list[Image]:
    """The pictures after encoding and decoding, as many as went in.

    Args:
        pictures: (H, W, 3) uint8 RGB each, all of one size, even sides.
        codec: one of `CODECS`. options: for its encoder, as FFmpeg names them.
        bit_rate: bit/s at `RATE` pictures a second, for codecs that go by it.

    Raises:
        UsageError: an unknown codec, odd sides, or an option that the encoder refuses.
    """
    if codec not in CODECS:
        raise UsageError(f"there is no codec {codec!r}; choose one of {', '.join(CODECS)}")
    if not len(pictures):
        return []
    height, width = pictures[0].shape[:2]
    if height % 2 or width % 2:
        raise UsageError(f"{width}x{height} can't be encoded: give pictures with even sides")
    try:
        decoded = _through(pictures, codec, options, bit_rate)
    except av.FFmpegError as error:
        raise UsageError(
            f"{codec} with {dict(options)} can't encode {width}x{height}: {error}"
        ) from None
    if len(decoded) != len(pictures):
        raise UsageError(f"{codec} with {dict(options)} gave {len(decoded)} of {len(pictures)}")
    return decoded


def _through(
    pictures: Sequence[Image], codec: str, options: Mapping[str, str], bit_rate: int | None
) -> list[Image]:
    into, back = CODECS[codec]
    height, width = pictures[0].shape[:2]
    encoder = cast("av.VideoCodecContext", av.CodecContext.create(into, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, RATE), Fraction(RATE)
    encoder.thread_count = 1
    if bit_rate is not None:
        encoder.bit_rate = bit_rate
    encoder.options = {**ALWAYS.get(codec, {}), **options}
    decoder = cast("av.VideoCodecContext", av.CodecContext.create(back, "r"))
    decoder.thread_count = 1
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.pts = index
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    return [
        np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
        for packet in [*packets, None]
        for frame in decoder.decode(packet)
    ]
