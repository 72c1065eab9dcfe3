"""Find faces, align them, and say how usable each one is.

Detector: RetinaFace with a mobilenet-0.25 trunk (Deng et al., CVPR 2020, arXiv:1905.00641); prior
boxes at strides 8, 16 and 32, two sizes each, boxes and five landmarks coded against them.
Alignment: a similarity that brings the five landmarks onto the ArcFace template (Deng et al.,
CVPR 2019), scaled so that the crop also shows the border of the face, where blends leave traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from aura.runtime import Session, load_model

Image = NDArray[np.uint8]
Points = NDArray[np.float32]

MIN_CONFIDENCE = 0.95  # the contract's threshold
NMS_IOU = 0.4
DETECTION_SIDE = 640  # longer side of the picture that the detector sees, in pixels
NEAR_SIDE = 192  # side of the small picture in which a known face is looked for again, pixels
NEAR_SPAN = 2.0  # its side in face sizes: room for the head to move between two looks
STRIDES = (8, 16, 32)
PRIOR_SIDES = ((16, 32), (64, 128), (256, 512))  # pixels, per stride
CENTER_VARIANCE = 0.1
SIZE_VARIANCE = 0.2
MEAN_BGR = (104.0, 117.0, 127.0)

CROP_SIDE = 224  # pixels; the contract's aligned face
# ArcFace's 112-pixel template: right eye, left eye, nose tip, right and left mouth corner as seen.
TEMPLATE_SIDE = 112.0
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ],
    dtype=np.float32,
)
CROP_SPAN = 150.0  # template units that a crop shows: 34 % more than ArcFace's own crop


@dataclass(frozen=True)
class Face:
    """One detected face in one picture, in pixels of that picture.

    `box` is (left, top, right, bottom) float32; `landmarks` is (5, 2) float32 in template order;
    `confidence` is the detector's P(face) in [0, 1].
    """

    box: Points
    landmarks: Points
    confidence: float

    @property
    def size(self) -> float:
        """Geometric mean of width and height, in pixels."""
        width, height = self.box[2:] - self.box[:2]
        return float(np.sqrt(max(width, 0.0) * max(height, 0.0)))


class FaceDetector:
    """RetinaFace on pictures of any size."""

    def __init__(self, session: Session | None = None, device: str = "auto") -> None:
        self._session: Session = session or load_model("retinaface-mobilenet", device)

    def detect(
        self,
        image: Image,
        *,
        min_confidence: float = MIN_CONFIDENCE,
        max_side: int = DETECTION_SIDE,
    ) -> list[Face]:
        """Find the faces in one picture, most confident first.

        Args:
            image: (H, W, 3) uint8 RGB, or (H, W) uint8 luma.
            min_confidence: faces at or below are dropped.
            max_side: the picture is shrunk (never enlarged) to this longer side first.
        """
        height, width = image.shape[:2]
        scale = min(1.0, max_side / max(height, width))
        if scale < 1.0:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Padding to whole strides keeps every prior grid exact and the compiled shapes few.
        shape = tuple(-(-side // STRIDES[-1]) * STRIDES[-1] for side in image.shape[:2])
        return self._detect(image, shape, scale, np.zeros(2, np.float32), min_confidence)

    def detect_near(
        self, image: Image, box: Points, *, min_confidence: float = MIN_CONFIDENCE
    ) -> Face | None:
        """Find a face again close to where it was: a small picture, a tenth of the work.

        Args:
            image: (H, W, 3) uint8 RGB, or (H, W) uint8 luma.
            box: (4,) where the face was, corners in pixels.
            min_confidence: a face at or below does not count.

        Returns:
            The face that covers most of the old place, None when there is none.
        """
        centre, size = (box[:2] + box[2:]) / 2, float(np.max(box[2:] - box[:2]))
        reach = NEAR_SPAN * size / 2
        left, top = (max(0, int(value)) for value in centre - reach)
        right, bottom = (int(value) + 1 for value in centre + reach)
        part = image[top:bottom, left:right]
        if min(part.shape[:2], default=0) < 2:
            return None
        part, factor = halved(part, NEAR_SIDE / max(part.shape[:2]))
        scale = NEAR_SIDE / max(part.shape[:2])
        size_near = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
        shrinks = scale < 1.0
        part = cv2.resize(
            part, size_near, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        )
        origin, scale = np.array([left, top], np.float32), scale * factor
        found = self._detect(part, (NEAR_SIDE, NEAR_SIDE), scale, origin, min_confidence)
        overlaps = [float(box_iou(face.box, box[None])[0]) for face in found]
        if not overlaps or max(overlaps) <= 0.0:
            return None
        return found[int(np.argmax(overlaps))]

    def _detect(
        self,
        image: Image,
        shape: tuple[int, ...],
        scale: float,
        origin: Points,
        min_confidence: float,
    ) -> list[Face]:
        """Run the network on a picture padded to `shape`; undo `scale` and `origin`."""
        if image.ndim == 2:
            image = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
        below, beside = shape[0] - image.shape[0], shape[1] - image.shape[1]
        if below or beside:  # with the mean colour, which is zero to the network
            image = np.asarray(
                cv2.copyMakeBorder(
                    image, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=MEAN_BGR[::-1]
                ),
                dtype=np.uint8,
            )
        blob = cv2.dnn.blobFromImage(image, mean=MEAN_BGR, swapRB=True)
        out = self._session.run({"input": blob})
        boxes, landmarks, scores = decode(
            out["loc"][0], out["landmarks"][0], out["conf"][0], shape, min_confidence
        )
        corner = np.concatenate([origin, origin])
        return [
            Face(box / scale + corner, points / scale + origin, float(score))
            for box, points, score in zip(boxes, landmarks, scores, strict=True)
        ]


@lru_cache(maxsize=64)
def prior_boxes(height: int, width: int) -> Points:
    """Prior boxes of a picture as (N, 4) float32: centre x, centre y, width, height in pixels.

    >>> prior_boxes(32, 32).shape
    (42, 4)
    """
    grids = []
    for stride, sides in zip(STRIDES, PRIOR_SIDES, strict=True):
        rows, columns = -(-height // stride), -(-width // stride)
        y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
        centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2) * stride + stride / 2
        grid = np.empty((rows * columns, len(sides), 4), np.float32)
        grid[..., :2] = centres
        grid[..., 2:] = np.array(sides, np.float32)[None, :, None]
        grids.append(grid.reshape(-1, 4))
    return np.concatenate(grids)


def decode(
    offsets: NDArray[Any],
    landmark_offsets: NDArray[Any],
    scores: NDArray[Any],
    shape: tuple[int, ...],
    min_confidence: float,
) -> tuple[Points, Points, Points]:
    """Turn the network's raw output for one picture into boxes, landmarks and scores.

    Args:
        offsets: (N, 4) box regression. landmark_offsets: (N, 10). scores: (N, 2), column 1 = face.
        shape: (height, width) that the network saw.
        min_confidence: candidates at or below are dropped before non-maximum suppression.

    Returns:
        boxes (M, 4) as corners, landmarks (M, 5, 2), scores (M,), best first, in pixels.
    """
    keep = np.flatnonzero(scores[:, 1] > min_confidence)
    priors = prior_boxes(shape[0], shape[1])[keep]
    centres = priors[:, :2] + offsets[keep, :2] * CENTER_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * np.exp(offsets[keep, 2:] * SIZE_VARIANCE)
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    points = (
        priors[:, None, :2]
        + landmark_offsets[keep].reshape(-1, 5, 2) * CENTER_VARIANCE * priors[:, None, 2:]
    )
    confidence = scores[keep, 1]
    chosen = suppress(boxes, confidence)
    return (
        boxes[chosen].astype(np.float32),
        points[chosen].astype(np.float32),
        confidence[chosen].astype(np.float32),
    )


def suppress(boxes: NDArray[Any], scores: NDArray[Any], iou: float = NMS_IOU) -> list[int]:
    """Greedy non-maximum suppression; indices of the boxes that stay, best first."""
    order = list(np.argsort(-scores, kind="stable"))
    chosen: list[int] = []
    while order:
        best = order.pop(0)
        chosen.append(int(best))
        if order:
            overlaps = box_iou(boxes[best], boxes[order])
            order = [index for index, overlap in zip(order, overlaps, strict=True) if overlap < iou]
    return chosen


def box_iou(box: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union of one (4,) box with (N, 4) others, all as corners.

    >>> box_iou(np.array([0, 0, 2, 2]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]])).round(3).tolist()
    [0.333, 0.0]
    """
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    overlap = np.prod(np.clip(inner, 0, None), axis=1)
    areas = np.prod(others[:, 2:] - others[:, :2], axis=1)
    area = np.prod(box[2:] - box[:2])
    return np.asarray(overlap / np.maximum(area + areas - overlap, 1e-9))


def similarity(source: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64]:
    """Least-squares similarity that maps source points onto target points.

    Closed form for rotation, uniform scale and shift in the plane (Umeyama, PAMI 1991, without
    reflection), written with complex numbers.

    Args:
        source: (N, 2). target: (N, 2).

    Returns:
        (2, 3) float64 matrix for `cv2.warpAffine`.
    """
    a = source[:, 0] + 1j * source[:, 1].astype(np.float64)
    b = target[:, 0] + 1j * target[:, 1].astype(np.float64)
    a0, b0 = a - a.mean(), b - b.mean()
    turn = np.vdot(a0, b0) / max(np.vdot(a0, a0).real, 1e-12)
    shift = b.mean() - turn * a.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def crop_matrix(landmarks: Points, side: int = CROP_SIDE, span: float = CROP_SPAN) -> NDArray[Any]:
    """The (2, 3) similarity from picture pixels to an aligned crop of `side` pixels."""
    margin = (span - TEMPLATE_SIDE) / 2
    return similarity(landmarks, (TEMPLATE + margin) * (side / span))


def align(image: Image, landmarks: Points, side: int = CROP_SIDE, span: float = CROP_SPAN) -> Image:
    """Cut an aligned face out of a picture.

    Args:
        image: (H, W, 3) or (H, W) uint8.
        landmarks: (5, 2) in pixels of the picture.
        side: side of the crop in pixels.
        span: how many units of the 112-unit template the crop shows.

    Returns:
        (side, side, 3) or (side, side) uint8; what lies outside the picture is mirrored.
    """
    matrix = crop_matrix(landmarks, side, span)
    shrink = np.hypot(matrix[0, 0], matrix[1, 0])
    if shrink < 0.5:
        # warpAffine samples four neighbours only: a large face would alias. Halve it first.
        image, landmarks = _cut_around(image, landmarks, side / shrink)
        image, factor = halved(image, shrink)
        matrix = crop_matrix((landmarks * factor).astype(np.float32), side, span)
    crop = cv2.warpAffine(
        image, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(crop, dtype=np.uint8)


def halved(image: Image, scale: float) -> tuple[Image, float]:
    """A picture halved as often as `scale` allows, each pixel the mean of the four it covers.

    An odd last row or column is left out: steps of two are what OpenCV does quickly.

    Returns:
        the picture, and by what its sides were multiplied: 1, 1/2, 1/4, ...
    """
    factor = 1.0
    while scale <= factor / 2 and min(image.shape[:2]) > 1:
        height, width = (side // 2 for side in image.shape[:2])
        whole = image[: 2 * height, : 2 * width]
        small = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        image, factor = np.asarray(small, np.uint8), factor / 2
    return image, factor


def _cut_around(image: Image, landmarks: Points, reach: float) -> tuple[Image, Points]:
    """The part of a picture within `reach` pixels of the landmarks' centre."""
    x, y = landmarks.mean(axis=0)
    left, top = max(0, int(x - reach)), max(0, int(y - reach))
    right, bottom = int(x + reach) + 1, int(y + reach) + 1
    return image[top:bottom, left:right], landmarks - np.array([left, top], np.float32)


@dataclass(frozen=True)
class FaceQuality:
    """How far a face can be trusted as evidence; every part and the whole in [0, 1].

    `size`: 1 from 112 pixels of face on. `sharpness`: energy of fine detail in the crop.
    `confidence`: the detector's, from its threshold up. `pose`: 1 when frontal, 0 in profile.
    `score` is their geometric mean, so that one bad part can't be hidden by three good ones.
    `detail`, log(1 + variance of the Laplacian), is what `sharpness` was made from, without end.
    """

    size: float
    sharpness: float
    confidence: float
    pose: float
    detail: float = 0.0

    @property
    def score(self) -> float:
        """Geometric mean of the parts."""
        parts = np.clip([self.size, self.sharpness, self.confidence, self.pose], 1e-4, 1.0)
        return float(np.exp(np.log(parts).mean()))


def frontalness(landmarks: Points) -> float:
    """1 when the nose tip stands midway between the eyes, 0 when it reaches an eye (profile).

    >>> round(frontalness(TEMPLATE), 1)
    1.0
    """
    axis = landmarks[1] - landmarks[0]
    along = float(np.dot(landmarks[2] - landmarks[0], axis) / max(float(np.dot(axis, axis)), 1e-9))
    return float(np.clip(1.0 - abs(2.0 * along - 1.0), 0.0, 1.0))


def face_quality(face: Face, crop: Image) -> FaceQuality:
    """Judge one face.

    Args:
        face: the detection in pixels of the decoded picture.
        crop: its aligned crop, (side, side, 3) uint8 RGB.
    """
    luma = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    # Variance of the Laplacian, the common focus measure; 100 is a sharp face at 224 pixels.
    detail = float(np.log1p(cv2.Laplacian(luma, cv2.CV_32F).var()))
    return FaceQuality(
        size=min(1.0, face.size / TEMPLATE_SIDE),
        sharpness=float(np.clip(detail / np.log1p(100.0), 0.0, 1.0)),
        confidence=float(np.clip((face.confidence - 0.9) / 0.1, 0.0, 1.0)),
        pose=frontalness(face.landmarks),
        detail=detail,
    )
