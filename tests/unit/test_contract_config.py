"""The contract's configuration files, and the motion values that enter the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from aura.detectors.contract_motion import motion_values
from aura.errors import UsageError
from aura.training.contract.config import NAMED, read_config

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SIDE = 224


def test_the_full_configuration_is_the_locked_contract() -> None:
    config = read_config("full")
    assert (config.window_seconds, config.window_frames) == (1.0, (5, 10))
    assert (config.appearance.kind, config.appearance.width) == ("efficientnet", 1536)
    assert config.frame_width == 1538
    assert (config.temporal.kind, config.temporal.width) == ("conv", 2048)
    assert (config.speech.kind, config.speech.hidden, config.speech.width) == ("wav2vec2", 768, 512)
    assert (config.speech.layers, config.speech.frozen_layers) == (12, 8)
    assert (config.fusion.kind, config.fusion.heads, config.fusion.width) == (
        "cross-attention",
        4,
        512,
    )
    assert config.joint_width == 2560
    assert config.modality_dropout == 0.2
    assert (config.loss.label_smoothing, config.loss.temporal_consistency) == (0.1, 0.1)


def test_a_configuration_survives_its_file_and_is_frozen(tmp_path: Path) -> None:
    for name in NAMED:
        config = read_config(name)
        path = tmp_path / f"{name}.json"
        path.write_text(config.model_dump_json(), encoding="utf-8")
        assert read_config(path) == config
        with pytest.raises(ValueError, match="frozen"):
            config.enable_audio = False  # type: ignore[misc]


def test_a_change_is_laid_over_its_part() -> None:
    config = read_config("small")
    changed = config.changed(fusion={"kind": "concatenation"}, enable_motion=False)
    assert changed.fusion.kind == "concatenation"
    assert changed.fusion.width == config.fusion.width
    assert changed.frame_width == config.appearance.width
    assert config.fusion.kind == "cross-attention"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fusion": {"kin": "concatenation"}}, "fusion.kin"),
        ({"enable_vidoe": False}, "enable_vidoe"),
        ({"enable_video": False, "enable_audio": False}, "both"),
        ({"speech": {"frozen_layers": 5}}, "frozen_layers"),
        ({"speech": {"width": 32}}, "must be equal"),
        ({"fusion": {"heads": 5}}, "5 heads"),
        ({"temporal": {"kind": "transformer", "model_width": 30}}, "4 heads"),
        ({"modality_dropout": 1.5}, "modality_dropout"),
        ({"window_frames": (10, 5)}, "window_frames"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(
    change: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        read_config("small").changed(**change)


@pytest.mark.parametrize("content", [None, "not json", "{}", '{"name": "x"}', "\xff\xfe"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "mine.json"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=r"mine\.json"):
        read_config(path)


def face(seed: int = 0) -> NDArray[np.uint8]:
    coarse = np.random.default_rng(seed).integers(0, 255, (28, 28, 3), dtype=np.uint8)
    return cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def moved(image: NDArray[np.uint8], turn: float, scale: float, shift: float) -> NDArray[np.uint8]:
    matrix = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), turn, scale)
    matrix[:, 2] += shift
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)


def mouth_moved(image: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """The lower middle moves down, the rest stays."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    bump = np.exp(-(((rows - 160) / 18) ** 2) - ((columns - 112) / 30) ** 2)
    return cv2.remap(image, columns, (rows - pixels * bump).astype(np.float32), cv2.INTER_LINEAR)


def motion(*faces: NDArray[np.uint8], rate: float = 5.0) -> NDArray[np.float32]:
    times = np.arange(len(faces)) / rate
    return motion_values(np.stack(faces), np.ones(len(faces), dtype=bool), times)


def test_a_still_face_has_no_motion() -> None:
    values = motion(face(), face())
    assert values.shape == (2, 2)
    assert values.dtype == np.float32
    assert float(np.abs(values).max()) < 1e-3


def test_what_alignment_left_over_is_taken_out_and_a_moving_mouth_stays() -> None:
    jitter = motion(face(), moved(face(), 1.5, 1.02, 2.0))[1]
    mouth = motion(face(), mouth_moved(face(), 5.0))[1]
    assert mouth[0] > 1.5 * jitter[0]  # of log(1 + v)
    assert mouth[1] > 1.5 * jitter[1]


def test_the_spread_tells_one_moving_place_from_motion_everywhere() -> None:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32)
    waves = 2.0 * np.sin(rows / 20)
    everywhere = cv2.remap(face(), (columns + waves).astype(np.float32), rows, cv2.INTER_LINEAR)
    flicker, mouth = motion(face(), everywhere)[1], motion(face(), mouth_moved(face(), 6.0))[1]
    lengths = np.expm1([flicker, mouth])
    assert lengths[1, 1] / lengths[1, 0] > 1.5 * lengths[0, 1] / lengths[0, 0]


def test_motion_is_by_second_and_not_by_frame() -> None:
    slow = np.expm1(motion(face(), mouth_moved(face(), 4.0), rate=5.0)[1, 0])
    fast = np.expm1(motion(face(), mouth_moved(face(), 4.0), rate=10.0)[1, 0])
    assert fast == pytest.approx(2 * slow, rel=1e-3)


def test_no_neighbour_no_motion() -> None:
    faces = np.stack([face(index) for index in range(4)])
    faces[1] = 7
    times = np.array([0.0, 0.2, 0.4, 1.4])
    values = motion_values(faces, np.array([True, False, True, True]), times)
    assert not values.any()  # the second is missing, and the last is a second away
    assert motion_values(faces[:0], np.zeros(0, dtype=bool), times[:0]).shape == (0, 2)


def test_times_that_go_back_and_shapes_that_do_not_fit_are_refused() -> None:
    faces, there = np.stack([face(), face()]), np.ones(2, dtype=bool)
    with pytest.raises(UsageError, match="ascend"):
        motion_values(faces, there, np.array([0.2, 0.2]))
    with pytest.raises(UsageError, match="fit"):
        motion_values(faces, there[:1], np.array([0.0, 0.2]))
