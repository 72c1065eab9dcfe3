"""Sound of any layout and rate as 16 kHz mono, every sample placed by its timestamp."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from aura.timeline import DecodeLog, Timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.audio.frame import AudioFrame
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz; contract: 16 kHz mono
BLOCK_SAMPLES = 4096  # 256 ms; a whole number of the 512-sample steps of speech detection
# Timestamps may wander from the count of samples by this much before it counts as a gap: above
# the rounding of containers (1 ms) and one jittering packet, below what lip-sync can see (40 ms).
PLACEMENT_TOLERANCE = 0.015  # seconds


@dataclass(frozen=True, eq=False)
class SoundBlock:
    """A stretch of sound: `samples` (n,) float32 mono in [-1, 1], heard from `start` seconds on."""

    start: float
    samples: NDArray[np.float32]


class SoundPlacer:
    """Resamples decoded sound and lays it on the clock, without gaps or overlaps.

    A hole in the timestamps becomes silence, what overlaps is dropped, so that successive blocks
    follow each other exactly. What lies before time zero is dropped.
    """

    def __init__(self, log: DecodeLog) -> None:
        self._log = log
        self._timeline = Timeline(log)
        self._resampler: av.AudioResampler | None = None
        self._layout: tuple[Any, ...] = ()
        self._run_start = 0.0  # a run is sound without a hole and of one layout
        self._run_samples = 0
        self._run_rate = 1
        self._cursor: int | None = None  # samples from time zero to the end of what was placed
        self._drop = 0
        self._pending: list[NDArray[np.float32]] = []
        self._pending_samples = 0

    @property
    def end(self) -> float | None:
        """Seconds at which the sound placed so far ends, None before the first."""
        return None if self._cursor is None else self._cursor / SAMPLE_RATE

    def feed(
        self, frame: AudioFrame, raw: float | None, following: float | None
    ) -> Iterator[SoundBlock]:
        """Take in one decoded frame; times in seconds since time zero, None when unknown."""
        if not frame.samples or not frame.sample_rate:
            return
        time = self._timeline.place(raw, following)
        layout = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
        expected = self._timeline.expected
        in_line = expected is not None and abs(time - expected) <= PLACEMENT_TOLERANCE
        if self._resampler is None or layout != self._layout or not in_line:
            yield from self._end_run()
            yield from self._begin_run(time, layout, frame.sample_rate)
        assert self._resampler is not None  # noqa: S101 - set by _begin_run
        try:
            resampled = self._resampler.resample(frame)
        except (av.FFmpegError, ValueError):  # a layout that can't be mixed, a broken frame
            self._log.bad_packets += 1
            self._resampler = None
            return
        for out in resampled:
            yield from self._push(out.to_ndarray().reshape(-1))
        self._run_samples += frame.samples
        self._timeline.expected = self._run_start + self._run_samples / self._run_rate

    def finish(self) -> Iterator[SoundBlock]:
        """Everything still held back."""
        yield from self._end_run()
        if self._pending_samples:
            yield self._take(self._pending_samples)

    def _begin_run(self, time: float, layout: tuple[Any, ...], rate: int) -> Iterator[SoundBlock]:
        # Without a ceiling on its matrix, the mix of a loud stereo pair would pass full scale.
        self._resampler = av.AudioResampler(
            format="flt", layout="mono", rate=SAMPLE_RATE, options={"rematrix_maxval": "1.0"}
        )
        self._layout, self._run_start, self._run_samples, self._run_rate = layout, time, 0, rate
        target = round(time * SAMPLE_RATE)
        if self._cursor is None:
            self._cursor = max(0, target)
        gap = target - self._cursor
        self._drop = max(0, -gap)
        if gap > PLACEMENT_TOLERANCE * SAMPLE_RATE:
            self._log.sound_gaps += 1
        for start in range(0, gap, BLOCK_SAMPLES):
            yield from self._push(np.zeros(min(BLOCK_SAMPLES, gap - start), np.float32))

    def _end_run(self) -> Iterator[SoundBlock]:
        if self._resampler is not None and self._run_samples:
            for out in self._resampler.resample(None):
                yield from self._push(out.to_ndarray().reshape(-1))
        self._resampler = None

    def _push(self, samples: NDArray[Any]) -> Iterator[SoundBlock]:
        dropped = min(self._drop, len(samples))
        self._drop -= dropped
        kept = samples[dropped:]
        if not len(kept):
            return
        assert self._cursor is not None  # noqa: S101 - set by _begin_run
        self._cursor += len(kept)
        self._pending.append(kept)
        self._pending_samples += len(kept)
        while self._pending_samples >= BLOCK_SAMPLES:
            yield self._take(BLOCK_SAMPLES)

    def _take(self, count: int) -> SoundBlock:
        assert self._cursor is not None  # noqa: S101 - something was pushed
        start = (self._cursor - self._pending_samples) / SAMPLE_RATE
        pending = np.concatenate(self._pending)
        self._pending = [pending[count:]]
        self._pending_samples -= count
        samples = np.clip(np.nan_to_num(pending[:count]), -1.0, 1.0)
        return SoundBlock(start, samples.astype(np.float32, copy=False))
