"""Watches one analysis, then shows why: maps on faces, spectrogram, charts, words.

    explainer = Explainer(folder)
    report = pipeline.analyze(video, explain=explainer)

Beside the pictures it keeps some 100 bytes for each sampled face, and the spectrogram's columns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from aura.detectors.visual import NAMES
from aura.document import tidy
from aura.errors import UsageError
from aura.explain import overlay, plots, sanity
from aura.explain.cam import MODEL, CamNetwork, Looked, grad_cam, shares
from aura.explain.listening import MAX_SPEECH, SpectrogramMaker
from aura.explain.moments import Moment, pictures_at
from aura.explanation import (
    DeletionTest,
    Explanation,
    FaceBox,
    Picture,
    SaliencyMap,
    Spectrogram,
)
from aura.faces import align
from aura.findings import worst_moments
from aura.runtime import model_card

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.detectors.base import Chunk
    from aura.media import MediaInfo
    from aura.profiles import Profile
    from aura.report import AnomalousFrame, Report

MAX_MAPS = 5  # moments shown; more would say the same again
MAPS_WITHOUT_ANOMALY = 2  # the highest moments of a clip that has no anomalous one
MAX_FACE_BOXES = 2000
PNG_EFFORT = [cv2.IMWRITE_PNG_COMPRESSION, 1]

METHOD = (
    "Grad-CAM (Selvaraju et al., ICCV 2017) on the last convolution of the visual network, in "
    "closed form; deletion test with seven control regions; last layer shuffled eight times."
)
SHOWS = (
    "Bright places raised the score of the named detector in this picture; the line encloses what "
    "reaches half of the strongest place. The square is what the network saw.",
    "The score is the sum of all places, those that lowered it included, which the picture leaves "
    "out.",
)
DOES_NOT_SHOW = (
    "A bright place is not a proof that this place was altered: the network may react to "
    "compression, light, hair or make-up there.",
    "The map has 7 by 7 cells over the face, and each cell looks far beyond its own borders: it "
    "can't show an outline.",
    "It explains the visual detectors on single pictures, neither the voice, nor lips and voice, "
    "nor the verdict as a whole.",
)


def how_they_hold() -> str:
    """How well the maps of the weights in use stood the deletion test, as their card says it."""
    told = model_card(MODEL).metrics.get("heat maps")
    return str(told) if told else "Whether the maps hold was not measured for these weights."


@dataclass(frozen=True)
class _Job:
    """What all maps of one clip share."""

    network: CamNetwork
    profile: Profile
    report: Report
    flagged: bool
    crops: NDArray[np.uint8]
    looked: Looked


@dataclass(frozen=True)
class _Face:
    """A moment with its picture, (H, W, 3) uint8 RGB."""

    point: AnomalousFrame
    picture: NDArray[np.uint8]


@dataclass(frozen=True)
class _Seen:
    """One sampled face: where it was."""

    time: float
    box: tuple[float, ...]
    landmarks: NDArray[np.float32]


class Explainer:
    """Explains one clip into one folder."""

    def __init__(self, folder: Path, network: CamNetwork | None = None) -> None:
        self._folder = folder
        self._network = network
        self._seen: dict[tuple[int, int], _Seen] = {}  # by picture and person
        self._sound = SpectrogramMaker()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"--explain {folder} can't be made ({error.strerror})") from None

    def observe(self, chunk: Chunk) -> None:
        """Remember where faces were; add the sound to the spectrogram."""
        for track in chunk.tracks:
            for index, frame_id in enumerate(track.frame_ids.tolist()):
                self._seen[frame_id, track.subject] = _Seen(
                    float(track.times[index]),
                    tuple(track.boxes[index].tolist()),
                    track.landmarks[index].copy(),
                )
        if chunk.sound is not None:
            self._sound.hear(chunk.sound)

    def explain(
        self,
        report: Report,
        source: MediaInfo,
        profile: Profile,
        tell: Callable[[float, float], None],
    ) -> Report:
        """The report with its explanation; the pictures are in the folder then.

        Raises:
            UsageError: the folder can't be written.
        """
        missing: list[str] = []
        maps: list[SaliencyMap] = []
        size = (source.video.width, source.video.height) if source.video else None
        if MODEL in profile.models:
            points, flagged = chosen_moments(report)
            if not points:
                missing.append("No face was judged, so there is no map of one.")
            maps = self._maps(report, source, profile, points, flagged=flagged, tell=tell)
            if len(maps) < len(points):
                lost = len(points) - len(maps)
                missing.append(f"{lost} of {len(points)} moments could not be decoded again.")
        else:
            missing.append(f"The networks of profile {profile.name} give no map of the face.")
        spectrogram = self._spectrogram()
        if spectrogram is None:
            missing.append("There is no sound to draw.")
        boxes = self._boxes(report, size) if size else ()
        told = report.model_copy(
            update={
                "explanation": Explanation(
                    method=METHOD,
                    shows=SHOWS,
                    does_not_show=(*DOES_NOT_SHOW, how_they_hold()),
                    missing=tuple(missing),
                    maps=tuple(maps),
                    maps_reliable=sum(one.reliable for one in maps),
                    face_boxes=boxes,
                    face_boxes_total=len(self._seen),
                    spectrogram=spectrogram,
                ),
                "prediction": report.prediction.model_copy(
                    update={"anomalous_frames": _linked(report, maps)}
                ),
            }
        )
        for name, chart in plots.charts(told, self._folder).items():
            self._write(name, chart.encode())
        return told.sealed()

    def _maps(
        self,
        report: Report,
        source: MediaInfo,
        profile: Profile,
        points: Sequence[AnomalousFrame],
        *,
        flagged: bool,
        tell: Callable[[float, float], None],
    ) -> list[SaliencyMap]:
        if not points:
            return []
        lines = [line.split(":") for line in report.provenance.frame_checksums.listed]
        listed = {int(number): int(crc, 16) for number, crc in lines}
        wanted = [Moment(one.timestamp, one.frame_id, listed.get(one.frame_id)) for one in points]
        fps = report.provenance.decoding.sampling_fps
        shown: dict[int, NDArray[np.uint8]] = {}  # at most `MAX_MAPS` pictures
        for done, (moment, frame) in enumerate(pictures_at(source, wanted, fps=fps), 1):
            if frame.rgb is not None:
                shown[moment.frame_id] = frame.rgb
            tell(done, len(wanted) + 1)
        faces = [_Face(one, shown[one.frame_id]) for one in points if one.frame_id in shown]
        if not faces:
            return []
        network = self._network or CamNetwork()
        crops = np.stack([align(one.picture, self._where(one.point)) for one in faces])
        job = _Job(network, profile, report, flagged, crops, network.look(crops))
        maps = [self._map(job, one, number) for number, one in enumerate(faces)]
        tell(len(wanted) + 1, len(wanted) + 1)
        return maps

    def _where(self, point: AnomalousFrame) -> NDArray[np.float32]:
        """Landmarks of the face, as it was aligned when it was judged."""
        return self._seen[point.frame_id, point.subject or 0].landmarks

    def _map(self, job: _Job, face: _Face, number: int) -> SaliencyMap:
        point, crop = face.point, job.crops[number]
        logits = job.looked.logits[number].astype(np.float64)
        scores = [
            float(job.profile.detector(name).calibration.build().probability(logit))
            for name, logit in zip(NAMES, logits, strict=True)
        ]
        head = int(np.argmax(scores))
        features, weight = job.looked.features[head][number], job.network.heads[head].weight
        cells = shares(features, weight)
        random = np.random.default_rng(_seed(job.report, point))
        deletion = sanity.deletion_test(
            job.network, crop, head, cells, logit=float(logits[head]), random=random
        )
        similarity = sanity.shuffled_similarity(features, weight, random)
        landmarks = self._where(point)
        height, width = face.picture.shape[:2]
        heat = grad_cam(cells)
        reliable = deletion.passed and similarity < sanity.MAX_SIMILARITY and bool(heat.any())
        corners = overlay.crop_corners(landmarks, width, height)
        return SaliencyMap(
            frame_id=point.frame_id,
            timestamp=point.timestamp,
            subject=point.subject or 0,
            flagged=job.flagged,
            detector=NAMES[head],
            score=scores[head],
            logit=float(logits[head]),
            bias=job.network.heads[head].bias,
            cells=tuple(tuple(map(float, row)) for row in cells),
            corners=tuple((float(x), float(y)) for x, y in corners),
            deletion=DeletionTest(
                drop=deletion.drop,
                elsewhere=deletion.elsewhere,
                elsewhere_mean=deletion.elsewhere_mean,
                share=deletion.share,
                beaten=deletion.beaten,
                passed=deletion.passed,
            ),
            randomised_similarity=similarity,
            reliable=reliable,
            words=words_of(deletion, similarity, job.profile.detector(NAMES[head]).label, heat),
            frame=self._picture(f"moment-{number + 1}.png", face.picture),
            heat=self._picture(
                f"moment-{number + 1}-map.png", overlay.draw(face.picture, heat, landmarks)
            ),
        )

    def _spectrogram(self) -> Spectrogram | None:
        drawn = self._sound.picture()
        if drawn is None or self._sound.start is None:
            return None
        return Spectrogram(
            picture=self._picture("spectrogram.png", drawn),
            start=self._sound.start,
            end=self._sound.end,
            low_hz=0.0,
            high_hz=8000.0,
            speech=tuple(map(float, self._sound.speech()[:MAX_SPEECH])),
        )

    def _boxes(self, report: Report, size: tuple[int, int]) -> tuple[FaceBox, ...]:
        """Boxes in fractions of the picture, thinned evenly when there are many."""
        width, height = size
        # Boxes are in pixels of the decoded picture, which is the shown one made smaller.
        scale = min(1.0, report.provenance.decoding.max_side / max(width, height))
        sides = np.array([width, height, width, height], np.float64) * scale
        every = -(-len(self._seen) // MAX_FACE_BOXES) or 1
        chosen = sorted(self._seen.items(), key=lambda item: (item[1].time, item[0][1]))[::every]
        return tuple(
            FaceBox(subject=subject, timestamp=one.time, box=tuple(np.array(one.box) / sides))
            for (_, subject), one in chosen
        )

    def _picture(self, name: str, pixels: NDArray[np.uint8]) -> Picture:
        ordered = pixels[..., ::-1] if pixels.ndim == 3 else pixels
        data = cv2.imencode(".png", np.ascontiguousarray(ordered), PNG_EFFORT)[1].tobytes()
        self._write(name, data)
        return Picture(
            file=name,
            sha256=hashlib.sha256(data).hexdigest(),
            width=pixels.shape[1],
            height=pixels.shape[0],
        )

    def _write(self, name: str, data: bytes) -> None:
        try:
            (self._folder / name).write_bytes(data)
        except OSError as error:
            raise UsageError(
                f"--explain {self._folder} can't be written ({error.strerror})"
            ) from None


def chosen_moments(report: Report) -> tuple[list[AnomalousFrame], bool]:
    """Moments to explain, worst first, and whether they are anomalous.

    Without an anomalous frame: the highest of all, so that a reader sees what a low score rests on.
    """
    anomalous = report.prediction.anomalous_frames
    if anomalous:
        worst = anomalous[:MAX_MAPS]
    else:
        worst = worst_moments(report.prediction.frame_scores, 0.0)[:MAPS_WITHOUT_ANOMALY]
    return [one for one in worst if one.subject is not None], bool(anomalous)


def _linked(report: Report, maps: Sequence[SaliencyMap]) -> tuple[AnomalousFrame, ...]:
    files = {(one.frame_id, one.subject): one.heat.file for one in maps}
    return tuple(
        one.model_copy(update={"saliency_url": files.get((one.frame_id, one.subject or -1))})
        for one in report.prediction.anomalous_frames
    )


def _seed(report: Report, point: AnomalousFrame) -> list[int]:
    """Seeds of a map's random regions: the file, the picture and the person."""
    return [int(report.provenance.input.sha256[:16], 16), point.frame_id, point.subject or 0]


def _moved(drop: float) -> str:
    """A fall of a logit in words.

    >>> _moved(1.234), _moved(-0.5)
    ('lowers (by 1.23 logits)', 'raises (by 0.50 logits)')
    """
    return f"{'lowers' if drop > 0 else 'raises'} (by {abs(tidy(drop)):.2f} logits)"


def words_of(
    deletion: sanity.Deletion, similarity: float, label: str, heat: NDArray[np.float64]
) -> str:
    """What the two tests say about one map, for a reader."""
    if not heat.any():
        return (
            f"No place of this face raised the score of “{label}”: it comes from the constant part "
            "of the network and its calibration, so there is nothing to mark."
        )
    less = round(deletion.beaten * len(deletion.elsewhere))
    tested = (
        f"Blurring away the marked {deletion.share:.0%} of the face {_moved(deletion.drop)} the "
        f"score of “{label}”; the same area elsewhere {_moved(deletion.elsewhere_mean)} it on "
        f"average, and {less} of {len(deletion.elsewhere)} such places mattered less."
    )
    if similarity >= sanity.MAX_SIMILARITY:
        return (
            f"{tested} With a shuffled network the map looks much the same (correlation "
            f"{similarity:.2f}): it shows the picture more than what was learned. Don't rest on it."
        )
    if not deletion.passed:
        return f"{tested} That is no better than chance: don't rest on this map."
    return (
        f"{tested} With a shuffled network the map becomes another (correlation {similarity:.2f})."
    )
