"""When things happen: broken timestamps repaired, pictures chosen by their time.

Pure arithmetic on seconds; knows nothing of files or codecs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from math import ceil, floor

GRID_TOLERANCE = 0.0005  # seconds; containers round to milliseconds
MOTION_FPS = 31.0  # streams up to this rate are kept whole, faster ones thinned to at most it
MOTION_GAP = 1 / 40  # seconds; a 30 fps phone video jitters by several milliseconds
FALLBACK_FPS = 25.0  # when the stream names no believable rate
BELIEVABLE_FPS = (0.01, 1000.0)
BACKWARD_JUMP = 1.0  # seconds; more than any reordering, so the clock itself was reset
FORWARD_JUMP = 600.0  # seconds; a longer hole is a broken timestamp, not a pause


@dataclass
class DecodeLog:
    """What decoding met on its way; filled while the frames are consumed.

    `pictures` counts every decoded picture, `last_time` is the last one's time in seconds.
    `bad_packets` could not be decoded, `corrupt_pictures` were decoded with visible damage,
    `repaired_timestamps` were missing, out of order or absurd, `sound_gaps` were filled with
    silence, `truncated` says that the file ends before it says it does.
    """

    pictures: int = 0
    last_time: float | None = None
    bad_packets: int = 0
    corrupt_pictures: int = 0
    repaired_timestamps: int = 0
    sound_gaps: int = 0
    truncated: bool = False


class Timeline:
    """Turns the raw times of one stream into believable ones.

    A missing time becomes the expected one. A lone outlier is put back in line. A lasting jump
    (back by more than `BACKWARD_JUMP` or ahead by more than `FORWARD_JUMP`) means that the
    stream's clock was reset: everything after it is shifted. The owner keeps `begun` and
    `expected` up to date: where the previous item began and where it should end.
    """

    def __init__(self, log: DecodeLog) -> None:
        self._log = log
        self._shift = 0.0
        self.begun: float | None = None
        self.expected: float | None = None

    def place(self, raw: float | None, following: float | None = None) -> float:
        """The repaired time of one item in seconds.

        Args:
            raw: the item's own time, None when the file gives none.
            following: the raw time of the next item, to tell an outlier from a jump.
        """
        if raw is None:
            self._log.repaired_timestamps += 1
            return self.expected or 0.0
        time = raw + self._shift
        reference = 0.0 if self.expected is None else self.expected
        ahead = time - reference
        behind = ahead if self.begun is None else max(ahead, time - self.begun)
        if ahead <= BACKWARD_JUMP and behind >= -BACKWARD_JUMP:
            return time
        if following is not None and abs(following + self._shift - reference) <= BACKWARD_JUMP:
            self._log.repaired_timestamps += 1
            return reference
        if ahead > FORWARD_JUMP or behind < -BACKWARD_JUMP:
            self._log.repaired_timestamps += 1
            self._shift -= ahead
            return reference
        return time


class PictureTimes:
    """Strictly rising times for the pictures of one stream.

    >>> times = PictureTimes(25.0, DecodeLog())
    >>> [round(times.place(raw), 2) for raw in (0.0, 0.04, None, 0.02, 0.16)]
    [0.0, 0.04, 0.08, 0.12, 0.16]
    """

    def __init__(self, fps: float | None, log: DecodeLog) -> None:
        low, high = BELIEVABLE_FPS
        self._period = 1 / (fps if fps and low <= fps <= high else FALLBACK_FPS)
        self._log = log
        self._timeline = Timeline(log)
        self._last: float | None = None

    def place(self, raw: float | None, following: float | None = None) -> float:
        """The time of the next picture in seconds; arguments as in `Timeline.place`."""
        time = self._timeline.place(raw, following)
        if self._last is not None and time <= self._last:
            if raw is not None:
                self._log.repaired_timestamps += 1
            time = self._last + self._period
            if following is not None and self._last < following <= time:
                time = (self._last + following) / 2  # leaves the next picture its own time
        self._last = time
        self._timeline.begun, self._timeline.expected = time, time + self._period
        return time


class Choice(Enum):
    """What becomes of a decoded picture."""

    SAMPLE = "sample"
    MOTION = "motion"
    SKIP = "skip"


class FrameChooser:
    """Which pictures to hand out: the uniform grid, and enough in between to see motion.

    A picture is sampled when its time has reached the next instant of the grid k / `sample_fps`;
    each instant takes at most one picture and each picture serves one instant. In between,
    streams of up to 30 pictures a second are kept whole and faster ones thinned evenly.

    >>> chooser = FrameChooser(5.0, stream_fps=10.0)
    >>> [chooser.choose(time).value for time in (0.0, 0.1, 0.2)]
    ['sample', 'motion', 'sample']
    """

    def __init__(self, sample_fps: float, stream_fps: float | None) -> None:
        self._sample_fps = sample_fps
        self._gap = MOTION_GAP
        if stream_fps and MOTION_FPS < stream_fps <= BELIEVABLE_FPS[1]:
            # Half a period of slack, so that jitter can't turn "every second" into "every third".
            self._gap = (ceil(stream_fps / MOTION_FPS) - 0.5) / stream_fps
        self._next_sample = float("-inf")
        self._last = float("-inf")

    def choose(self, time: float) -> Choice:
        """What becomes of the picture at `time` seconds; times must rise."""
        if time + GRID_TOLERANCE >= self._next_sample:
            step = floor((time + GRID_TOLERANCE) * self._sample_fps) + 1
            self._next_sample = step / self._sample_fps
            choice = Choice.SAMPLE
        elif time - self._last >= self._gap:
            choice = Choice.MOTION
        else:
            return Choice.SKIP
        self._last = time
        return choice
