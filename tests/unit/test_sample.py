"""The sample clip: what it shows, and that it is the same every time."""

from __future__ import annotations

import importlib.util
import sys

import cv2
import numpy as np
import pytest

from aura.errors import MissingExtra, UsageError
from aura.faces import FaceDetector
from aura.media import Frame, SoundBlock, decode, probe
from aura.sample import mouth_opening, render_sample

for extra in ("skimage", "espeakng_loader"):
    if importlib.util.find_spec(extra) is None:
        pytest.skip(f"the extra 'sample' is not installed ({extra})", allow_module_level=True)


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    return render_sample(tmp_path_factory.mktemp("sample") / "sample.mp4")


@pytest.fixture(scope="module")
def items(sample):
    return list(decode(probe(sample)))


def test_sample_is_eight_seconds_of_h264_with_sound_and_the_honest_label(sample):
    import av

    info = probe(sample)
    assert (info.video.codec, info.video.width, info.video.height) == ("h264", 640, 480)
    assert info.video.fps == 25
    assert info.audio.codec == "aac"
    assert info.duration == pytest.approx(8.0, abs=0.05)
    with av.open(str(sample)) as container:
        assert "fake" in container.metadata["title"]


def test_sample_has_the_same_bytes_on_every_run(sample, tmp_path):
    assert render_sample(tmp_path / "again.mp4").read_bytes() == sample.read_bytes()


def test_every_sampled_picture_shows_one_face_with_the_confidence_of_the_contract(items):
    detector = FaceDetector()
    pictures = [item for item in items if isinstance(item, Frame) and item.rgb is not None]
    assert len(pictures) == 40
    for picture in pictures[::4]:
        (face,) = detector.detect(picture.rgb)
        assert face.confidence > 0.95
        assert face.size > 112


def test_mouth_moves_with_the_sound(items):
    sound = np.concatenate([item.samples for item in items if isinstance(item, SoundBlock)])
    frames = [item for item in items if isinstance(item, Frame)]
    detector = FaceDetector()
    landmarks = [
        detector.detect(frame.luma)[0].landmarks for frame in frames[:150] if frame.index % 3 == 0
    ]
    level, dark = [], []
    for frame, points in zip(frames[:150:3], landmarks, strict=True):
        x, y = points[3:].mean(axis=0).astype(int)
        dark.append(float((frame.luma[y - 10 : y + 30, x - 20 : x + 20] < 60).mean()))
        begin = round(frame.time * 16_000)
        level.append(float(np.sqrt((sound[begin : begin + 640] ** 2).mean())))
    assert np.corrcoef(level, dark)[0, 1] > 0.6


def test_the_camera_moves(items):
    frames = [item for item in items if isinstance(item, Frame)]
    flow = cv2.phaseCorrelate(
        frames[0].luma.astype(np.float32), frames[40].luma.astype(np.float32)
    )[0]
    assert np.hypot(*flow) > 3


def test_mouth_opening_follows_the_level():
    quiet, loud = np.zeros(8000, np.float32), np.full(8000, 0.5, np.float32)
    opening = mouth_opening(np.concatenate([quiet, loud]), 16_000)
    assert opening[:10].max() < 0.05
    assert opening[-10:-1].min() > 0.95


@pytest.mark.parametrize("module", ["skimage", "espeakng_loader"])
def test_without_the_extra_the_message_names_it(tmp_path, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(
        "aura.sample.find_spec",
        lambda name: None if name == module else importlib.util.find_spec(name),
    )
    with pytest.raises(MissingExtra, match=r"aura-veracity\[sample\]"):
        render_sample(tmp_path / "sample.mp4")


def test_a_folder_that_does_not_exist_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="can't be written"):
        render_sample(tmp_path / "no" / "sample.mp4")
