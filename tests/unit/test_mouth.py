"""Mouth crops: upright, to scale, steady over time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from aura.mouth import MOUTH_SIDE, MOUTH_SPAN, REACH, mouth_crop, smooth_landmarks


def face(distance: float, turn: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """A picture with a bright spot at each mouth corner, and its landmarks."""
    angle = np.deg2rad(turn)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = np.array([[-0.5, 0], [0.5, 0], [0, 0.6], [-0.35, 1.0], [0.35, 1.0]]) * distance
    side = int(5 * distance)
    points = flat @ rotation.T + side / 2
    picture = np.full((side, side), 40, np.uint8)
    for x, y in points[3:]:
        centre = (round(x * 16), round(y * 16))
        cv2.circle(picture, centre, round(distance * 0.06 * 16), 220, -1, cv2.LINE_AA, 4)
    return picture, points.astype(np.float32)


def spots(crop: np.ndarray) -> np.ndarray:
    """Centres of mass (x, y) of the bright spots left and right of the middle."""
    y, x = np.mgrid[0:MOUTH_SIDE, 0:MOUTH_SIDE]
    weight = np.clip(crop.astype(float) - 60, 0, None)
    found = []
    for part in (x < MOUTH_SIDE / 2, x >= MOUTH_SIDE / 2):
        share = weight * part / (weight * part).sum()
        found.append([(share * x).sum(), (share * y).sum()])
    return np.array(found)


@pytest.mark.parametrize("distance", [30.0, 60.0, 130.0, 260.0])
@pytest.mark.parametrize("turn", [0.0, 25.0, -60.0])
def test_crop_is_upright_centred_and_to_scale(distance: float, turn: float) -> None:
    found = spots(mouth_crop(*face(distance, turn)))
    half = 0.35 * MOUTH_SIDE / MOUTH_SPAN
    middle = (MOUTH_SIDE - 1) / 2
    np.testing.assert_allclose(found, [[middle - half, middle], [middle + half, middle]], atol=0.5)


def test_crop_reaches_over_the_border_of_the_picture() -> None:
    picture, points = face(60.0)
    crop = mouth_crop(picture, points + np.array([0, 130]))  # the mouth lies below the picture
    assert crop.shape == (MOUTH_SIDE, MOUTH_SIDE)
    assert mouth_crop(picture, points + np.array([0, 5000])).shape == (MOUTH_SIDE, MOUTH_SIDE)
    assert mouth_crop(picture, 6 * points + 9000).shape == (MOUTH_SIDE, MOUTH_SIDE)


def test_landmarks_are_interpolated_between_detections() -> None:
    known_times = np.arange(0, 3, 0.2)
    known = np.repeat(known_times[:, None, None], 10).reshape(-1, 5, 2) * 50.0
    times = np.arange(0, 2.8, 0.04)
    smooth = smooth_landmarks(known_times, known, times)
    inner = (times > REACH) & (times < 2.8 - REACH)
    assert smooth.shape == (len(times), 5, 2)
    np.testing.assert_allclose(smooth[inner, 2, 1], 50.0 * times[inner], atol=0.05)


def test_jitter_of_the_detector_is_smoothed_away() -> None:
    rng = np.random.default_rng(0)
    times = np.arange(0, 4, 0.04)
    known = 100 + rng.standard_normal((len(times), 5, 2))
    smooth = smooth_landmarks(times, known, times)
    assert np.diff(smooth, axis=0).std() < 0.2 * np.diff(known, axis=0).std()


def test_smoothing_does_not_depend_on_an_uneven_frame_rate() -> None:
    known_times = np.arange(0, 4, 0.2)
    known = 10 * np.sin(known_times)[:, None, None] * np.ones((1, 5, 2))
    even = np.arange(0, 3.8, 0.02)
    uneven = np.concatenate([even[even < 2], even[even >= 2][::2]])  # half the rate later on
    one = smooth_landmarks(known_times, known, even)[np.isin(even, uneven)]
    other = smooth_landmarks(known_times, known, uneven)
    np.testing.assert_allclose(one, other, atol=0.1)


def test_result_depends_on_nothing_beyond_its_reach() -> None:
    rng = np.random.default_rng(1)
    times = np.arange(0, 4, 0.04)
    known = 100 + 5 * rng.standard_normal((len(times), 5, 2))
    changed = known.copy()
    changed[times > 2 + REACH + 0.04] += 50
    before = times <= 2
    np.testing.assert_array_equal(
        smooth_landmarks(times, known, times)[before],
        smooth_landmarks(times, changed, times)[before],
    )
