"""Who is in the clip: detected faces become people, cut out face by face, chunk by chunk.

Faces are looked for on sampled pictures only. Between two of them a person's landmarks are
interpolated, so that every picture gives a steady crop of the mouth. Detections are joined to
people by place and, after a gap or a cut, by likeness. Nothing older than about a second of
pictures is kept, so memory does not grow with the clip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from aura.cuts import CUTS
from aura.detectors.base import Chunk, FaceTrack, Sound
from aura.faces import (
    CROP_SIDE,
    Face,
    FaceDetector,
    align,
    box_iou,
    face_quality,
    suppress,
)
from aura.media import Frame, SoundBlock
from aura.mouth import HEAD_SIDE, MOUTH_SIDE, REACH, head_crop, mouth_crop, smooth_landmarks
from aura.speech import BLOCK, SAMPLE_RATE, SpeechDetector
from aura.wear import Wear, blockiness

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

FacesMode = Literal["all", "single"]

CHUNK_SECONDS = 4.0  # what detectors get at a time
CHUNK_CROPS = 160  # or as soon as so many faces are waiting: 24 MB
CHUNK_SOUND = 60.0  # or so many seconds of sound: some files hold it all before the pictures
SEARCH_SECONDS = 1.0  # how often the whole picture is searched for people who have come in
LOOK_AGAIN = 0.5  # seconds since a face was seen for which it is expected to be still there
SAME_PLACE_IOU = 0.25  # a talking head moves less than its own width between samples
NEAR_PLACE = 0.9  # face sizes; within this distance it may still be the same, quickly moving head
MAX_GAP = 1.0  # seconds without a detection before place no longer tells who it is
MAX_SPAN = 0.6  # seconds between detections over which landmarks may be interpolated
LIKENESS_SIDE = 24  # pixels of the thumbnail by which a person is known again
SAME_PERSON = 0.80  # correlation of thumbnails from which a lost person counts as found again
OTHER_PERSON = 0.35  # and below which the same place after a cut holds somebody else
CUT_SIDE = (32, 18)  # pixels of the thumbnail that shows a cut
CUT_DIFFERENCE = 28.0  # mean change in grey levels between samples that counts as one


@dataclass
class Person:
    """One tracked person: last place, looks, and what waits for the next chunk."""

    id: int
    box: NDArray[np.float32]
    first_time: float
    last_time: float
    likeness: NDArray[np.float32]
    faces: int = 0
    quality_sum: float = 0.0
    size_sum: float = 0.0
    detail_sum: float = 0.0
    blocks_sum: float = 0.0
    known: list[tuple[float, NDArray[np.float32]]] = field(default_factory=list)
    sampled: list[tuple[int, float, Any, Any, Any, float, tuple[Any, ...]]] = field(
        default_factory=list
    )
    mouths: list[tuple[float, NDArray[np.uint8]]] = field(default_factory=list)
    heads: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = field(default_factory=list)
    mouth_until: float = -np.inf

    @property
    def quality(self) -> float:
        """Mean face quality in [0, 1]."""
        return self.quality_sum / max(self.faces, 1)

    @property
    def size(self) -> float:
        """Mean side of the face in pixels of the decoded picture."""
        return self.size_sum / max(self.faces, 1)

    @property
    def wear(self) -> Wear:
        """What compression has left of the face."""
        count = max(self.faces, 1)
        return Wear(self.detail_sum / count, self.blocks_sum / count)


@dataclass
class Tally:
    """What was seen along the way: sampled pictures, and how many faces they showed."""

    sampled: int = 0
    without_face: int = 0
    with_several: int = 0
    first_time: float | None = None
    last_time: float = 0.0
    checksums: list[tuple[int, int]] = field(default_factory=list)


class SubjectTracker:
    """Turns decoded pictures and sound into chunks of tracked faces and speech.

    Args:
        faces: finds faces in one picture.
        speech: P(speech) along the sound; None when the clip has no sound track.
        mode: `all` tracks everybody; `single` (the contract) skips pictures with several faces.
        pictures: False for sound alone, where time goes on with what is heard.
        cuts: which of `aura.cuts` are made of every sampled face, beside the aligned one.
        heads: whether crops of the head are cut out beside those of the mouth.
    """

    def __init__(
        self,
        faces: FaceDetector,
        speech: SpeechDetector | None,
        mode: FacesMode = "all",
        *,
        pictures: bool = True,
        cuts: Sequence[str] = (),
        heads: bool = False,
    ) -> None:
        self._cuts = tuple(cuts)
        self._heads = heads
        self._pictures = pictures
        self.end = 0.0  # seconds of what the last chunk reaches to
        self._detector = faces
        self._speech = speech
        self._mode = mode
        self.people: list[Person] = []
        self.tally = Tally()
        self._pending: list[tuple[float, NDArray[np.uint8]]] = []
        self._thumbnail: NDArray[np.float32] | None = None
        self._searched = -np.inf
        self._sound = np.zeros(0, np.float32)
        self._sound_start: float | None = None
        self._heard: list[NDArray[np.float32]] = []
        self._waiting = 0
        self._chunk_start: float | None = None

    def follow(self, decoded: Iterable[Frame | SoundBlock]) -> Iterator[Chunk]:
        """Chunks in order; `people` and `tally` are complete once the last one was taken."""
        for item in decoded:
            if isinstance(item, SoundBlock):
                self._hear(item)
                if self._waiting > CHUNK_SOUND * SAMPLE_RATE:
                    yield self._chunk(self._now())
                continue
            self._look(item)
            waiting = sum(len(person.sampled) for person in self.people)
            if item.time - (self._chunk_start or 0.0) >= CHUNK_SECONDS or waiting >= CHUNK_CROPS:
                yield self._chunk(item.time)
        self._cut_mouths(np.inf)
        yield self._chunk(self._now(), last=True)

    def _now(self) -> float:
        if self._pictures or self._sound_start is None:
            return self.tally.last_time
        fresh = len(self._sound) + self._waiting
        return self._sound_start + fresh / SAMPLE_RATE

    def _hear(self, block: SoundBlock) -> None:
        if self._speech is None:
            return
        if self._sound_start is None:
            self._sound_start = block.start
        self._heard.append(block.samples)
        self._waiting += len(block.samples)

    def _look(self, frame: Frame) -> None:
        if self.tally.first_time is None:
            self.tally.first_time = self._chunk_start = frame.time
        self.tally.last_time = frame.time
        self._pending.append((frame.time, frame.luma))
        if frame.rgb is None:
            return
        self.tally.sampled += 1
        if frame.checksum is not None:
            self.tally.checksums.append((frame.index, frame.checksum))
        cut = self._is_cut(frame.luma)
        found = self._find(frame.rgb, frame.time, cut)
        self.tally.without_face += not found
        self.tally.with_several += len(found) > 1
        if self._mode == "single" and len(found) > 1:
            found = []
        crops = [align(frame.rgb, face.landmarks) for face in found]
        looks = [likeness(crop) for crop in crops]
        people = self._assign(found, looks, frame.time, cut)
        for face, crop, look, person in zip(found, crops, looks, people, strict=True):
            usable = face_quality(face, crop)
            quality = usable.score
            person.box, person.last_time = face.box, frame.time
            person.faces += 1
            person.quality_sum += quality
            person.size_sum += face.size
            person.detail_sum += usable.detail
            person.blocks_sum += blockiness(frame.luma, face.box)
            person.likeness = 0.8 * person.likeness + 0.2 * look
            person.known.append((frame.time, face.landmarks))
            cuts = tuple(CUTS[name](frame.rgb, face) for name in self._cuts)
            person.sampled.append(
                (frame.index, frame.time, crop, face.box, face.landmarks, quality, cuts)
            )
        self._cut_mouths(frame.time - REACH)

    def _find(self, rgb: NDArray[np.uint8], time: float, cut: bool) -> list[Face]:
        """All faces of a sampled picture.

        The whole picture is searched once in `SEARCH_SECONDS`, after a cut, and whenever a known
        face is not where it was; else each known face is looked for around its last place.
        """
        known = [one for one in self.people if time - one.last_time <= LOOK_AGAIN]
        if self._mode == "all" and known and not cut and time - self._searched < SEARCH_SECONDS:
            near = [self._detector.detect_near(rgb, one.box) for one in known]
            found = [face for face in near if face is not None]
            if len(found) == len(known):
                return [found[i] for i in suppress_faces(found)]
        self._searched = time
        # The network places landmarks a little differently at another scale (3 % of the eye
        # distance): what is measured always comes from the close look, or mouths would jump.
        found = self._detector.detect(rgb)
        return [self._detector.detect_near(rgb, face.box) or face for face in found]

    def _is_cut(self, luma: NDArray[np.uint8]) -> bool:
        small = cv2.resize(luma, CUT_SIDE, interpolation=cv2.INTER_AREA).astype(np.float32)
        before, self._thumbnail = self._thumbnail, small
        return before is not None and float(np.abs(small - before).mean()) > CUT_DIFFERENCE

    def _assign(
        self, found: list[Face], looks: list[NDArray[np.float32]], time: float, cut: bool
    ) -> list[Person]:
        """Who is who: by place while the shot goes on, else by likeness, else somebody new."""
        pairs: list[tuple[float, int, Person]] = []
        for index, face in enumerate(found):
            for person in self.people:
                alike = float((looks[index] * person.likeness).mean()) / _norm(person.likeness)
                near = float(box_iou(face.box, person.box[None])[0])
                fresh = time - person.last_time <= MAX_GAP
                if fresh and near >= SAME_PLACE_IOU and (not cut or alike >= OTHER_PERSON):
                    pairs.append((1.0 + near + alike, index, person))
                elif alike >= SAME_PERSON:
                    pairs.append((alike, index, person))
                elif fresh and not cut and _distance(face.box, person.box) <= NEAR_PLACE:
                    pairs.append((near + 0.1 * alike, index, person))
        pairs.sort(key=lambda pair: -pair[0])
        matched: dict[int, Person] = {}
        taken: set[int] = set()
        for _, index, person in pairs:
            if index not in matched and person.id not in taken:
                matched[index] = person
                taken.add(person.id)
        for index, face in enumerate(found):
            if index not in matched:
                person = Person(len(self.people) + 1, face.box, time, time, looks[index])
                self.people.append(person)
                matched[index] = person
            elif cut:
                matched[index].known.append((time, np.full((5, 2), np.nan, np.float32)))
        return [matched[index] for index in range(len(found))]

    def _cut_mouths(self, until: float) -> None:
        """Cut the mouths of all pictures before `until`: their landmarks can't change any more."""
        ready = [item for item in self._pending if item[0] < until]
        if not ready:
            return
        times = np.array([time for time, _ in self._pending])
        for person in self.people:
            if not person.known or person.last_time < times[0] - MAX_SPAN:
                person.known = person.known[-1:] if person.known else []
                continue
            for run_times, run in _runs(person.known):
                inside = [
                    index
                    for index, (time, _) in enumerate(ready)
                    if run_times[0] <= time <= run_times[-1] and time > person.mouth_until
                ]
                if not inside:
                    continue
                # Landmarks depend on REACH to both sides: ask for the pictures there as well.
                grid = np.unique(np.concatenate([times, run_times]))
                grid = grid[(grid >= run_times[0]) & (grid <= run_times[-1])]
                smooth = smooth_landmarks(run_times, run, grid)
                for index in inside:
                    time, luma = ready[index]
                    points = smooth[int(np.searchsorted(grid, time))]
                    person.mouths.append((time, mouth_crop(luma, points)))
                    if self._heads:
                        person.heads.append((head_crop(luma, points), points))
                person.mouth_until = ready[inside[-1]][0]
            horizon = ready[-1][0] - 2 * REACH - MAX_SPAN
            person.known = [item for item in person.known if item[0] >= horizon]
        self._pending = [item for item in self._pending if item[0] >= until]

    def _chunk(self, end: float, *, last: bool = False) -> Chunk:
        start = self._chunk_start if self._chunk_start is not None else 0.0
        self._chunk_start = self.end = end
        tracks = []
        for person in self.people:
            if person.sampled or person.mouths:
                tracks.append(_face_track(person, self._cuts))
                person.sampled, person.mouths, person.heads = [], [], []
        return Chunk(start, end, tracks, self._take_sound(last))

    def _take_sound(self, last: bool) -> Sound | None:
        if self._speech is None:
            return None
        fresh = np.concatenate([np.zeros(0, np.float32), *self._heard])
        self._heard, self._waiting = [], 0
        probabilities = self._speech.feed(fresh)
        if last:
            probabilities = np.concatenate([probabilities, self._speech.finish()])
        self._sound = np.concatenate([self._sound, fresh])
        whole = len(self._sound) if last else len(probabilities) * BLOCK
        samples, self._sound = self._sound[:whole], self._sound[whole:]
        if self._sound_start is None:  # a track that has not begun yet
            return Sound(0.0, samples, probabilities)
        start = self._sound_start
        self._sound_start = start + len(samples) / SAMPLE_RATE
        return Sound(start, samples, probabilities)


def suppress_faces(found: list[Face]) -> list[int]:
    """Indices of faces that are not the same as a more confident one."""
    boxes = np.stack([face.box for face in found])
    return suppress(boxes, np.array([face.confidence for face in found]))


def likeness(crop: NDArray[np.uint8]) -> NDArray[np.float32]:
    """A thumbnail of an aligned face by which a person is known again, zero mean and unit spread.

    Args:
        crop: (224, 224, 3) uint8 RGB.

    Returns:
        (24, 24) float32; the mean product of two of them is their correlation.
    """
    inner = crop[40:184, 40:184]
    grey = cv2.cvtColor(inner, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (LIKENESS_SIDE, LIKENESS_SIDE), interpolation=cv2.INTER_AREA)
    values = small.astype(np.float32)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1.0), dtype=np.float32)


def _distance(box: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Distance of two boxes' centres, in sizes of the larger box."""
    centre = (box[:2] + box[2:] - other[:2] - other[2:]) / 2
    sides = [float(np.sqrt(max(np.prod(b[2:] - b[:2]), 1.0))) for b in (box, other)]
    return float(np.hypot(*centre)) / max(sides)


def _norm(values: NDArray[np.float32]) -> float:
    return max(float(np.sqrt((values * values).mean())), 1e-6)


def _runs(
    known: list[tuple[float, NDArray[np.float32]]],
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float32]]]:
    """Stretches of detections without a cut (marked by NaN) or a gap over `MAX_SPAN`."""
    run: list[tuple[float, NDArray[np.float32]]] = []
    for time, points in known:
        cut = bool(np.isnan(points[0, 0]))
        if run and (cut or time - run[-1][0] > MAX_SPAN):
            yield np.array([t for t, _ in run]), np.stack([p for _, p in run])
            run = []
        if not cut:
            run.append((time, points))
    if run:
        yield np.array([t for t, _ in run]), np.stack([p for _, p in run])


def _face_track(person: Person, cuts: Sequence[str]) -> FaceTrack:
    sampled, mouths, heads = person.sampled, person.mouths, person.heads
    count = len(sampled)
    return FaceTrack(
        subject=person.id,
        frame_ids=np.array([item[0] for item in sampled], np.int64),
        times=np.array([item[1] for item in sampled], np.float64),
        crops=np.array([item[2] for item in sampled], np.uint8).reshape(
            count, CROP_SIDE, CROP_SIDE, 3
        ),
        boxes=np.array([item[3] for item in sampled], np.float32).reshape(count, 4),
        landmarks=np.array([item[4] for item in sampled], np.float32).reshape(count, 5, 2),
        quality=np.array([item[5] for item in sampled], np.float32),
        mouth_times=np.array([item[0] for item in mouths], np.float64),
        mouths=np.array([item[1] for item in mouths], np.uint8).reshape(
            len(mouths), MOUTH_SIDE, MOUTH_SIDE
        ),
        cuts={
            name: np.array([item[6][place] for item in sampled], np.uint8)
            for place, name in enumerate(cuts)
            if sampled
        },
        heads=np.array([item[0] for item in heads], np.uint8).reshape(
            len(heads), HEAD_SIDE, HEAD_SIDE
        ),
        head_landmarks=np.array([item[1] for item in heads], np.float32).reshape(len(heads), 5, 2),
    )
