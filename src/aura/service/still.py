"""What can be said about a single picture: scores of its faces, and no verdict.

The detectors are fitted and calibrated on clips, where many pictures of a face are weighed
together. Their scores for one picture are shown as such; nothing is fused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import av
import numpy as np

from aura.container import MAX_PIXELS, check_dimensions
from aura.detectors.base import Chunk, FaceTrack
from aura.detectors.visual import NAMES, VisualDetector
from aura.errors import UnreadableMedia
from aura.faces import Face, FaceDetector, align, face_quality
from aura.pictures import decode_size, orientation
from aura.profiles import equipped, load_profile
from aura.report import json_ready
from aura.runtime import load_model, sha256_file
from aura.versions import tool_versions

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

REASON = (
    "One picture is too little for a verdict: the detectors are fitted to clips. "
    "The scores are indications, not findings."
)
FORMATS = "png_pipe,jpeg_pipe,webp_pipe,bmp_pipe,tiff_pipe"  # pictures, no lists of files
MODELS = ("retinaface-mobilenet", "visual-lite")


class NoPicture(UnreadableMedia):
    """The bytes are no picture that can be decoded."""


def inspect_picture(path: Path, profile: str, name: str) -> dict[str, Any]:
    """Find the faces in a picture and score each.

    Args:
        path: JPEG, PNG, WebP, BMP or TIFF.
        profile: whose calibration the scores get.
        name: what its user calls it.

    Returns:
        JSON of `schemas.ImageReport`.

    Raises:
        InputError: no picture, or larger than is decoded.
    """
    began = datetime.now(UTC)
    rgb, (width, height) = read_picture(path, name)
    scale = rgb.shape[1] / width
    faces = FaceDetector().detect(rgb)
    scores = _scores(rgb, faces, profile)
    highest = {key: max((entry[key] for entry in scores), default=None) for key in NAMES}
    every = [value for entry in scores for value in entry.values()]
    cards = [load_model(model).card for model in MODELS]
    found: dict[str, Any] = {
        "job_id": None,
        "kind": "image",
        "prediction": {
            "overall_class": "uncertain",
            "reason": REASON if faces else "No face was found.",
            "overall_confidence": None,
            "manipulation_confidence": max(every, default=None),
        },
        "detector_scores": highest,
        "faces": [
            {
                "box": [float(value) / scale for value in face.box],
                "quality": face_quality(face, align(rgb, face.landmarks)).score,
                "scores": entry,
            }
            for face, entry in zip(faces, scores, strict=True)
        ],
        "provenance": {
            "input": {
                "name": name,
                "path": name,
                "sha256": sha256_file(path),
                "size_bytes": path.stat().st_size,
                "width": width,
                "height": height,
            }
        },
        "metadata": {
            "profile": profile,
            "config_sha256": equipped(load_profile(profile)).config_sha256,
            "models_used": [
                {"name": card.name, "version": card.version, "sha256": card.sha256}
                for card in cards
            ],
            "tool_versions": tool_versions(),
            "started_at": began.isoformat(),
            "finished_at": datetime.now(UTC).isoformat(),
        },
    }
    return dict(json_ready(found))


def read_picture(path: Path, name: str) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decode a picture, upright and shrunk as pictures of clips are; with its full width, height.

    Raises:
        NoPicture: not one of `FORMATS`, or it can't be decoded.
    """
    options = {
        "protocol_whitelist": "file",
        "format_whitelist": FORMATS,
        "max_pixels": str(MAX_PIXELS),
    }
    try:
        with av.open(f"file:{path.absolute()}", options=options) as container:
            stream = container.streams.video[0]
            check_dimensions(path, stream.codec_context.width, stream.codec_context.height)
            frame = next(container.decode(stream))
            check_dimensions(path, frame.width, frame.height)
            width, height = decode_size(frame.width, frame.height)
            small = frame.to_ndarray(width=width, height=height, format="rgb24")
            upright = orientation(frame)
    except (av.FFmpegError, ValueError, IndexError, StopIteration):
        raise NoPicture(f"{name} is no picture that can be decoded; give a JPEG or PNG") from None
    rgb = np.ascontiguousarray(upright.apply(np.asarray(small, dtype=np.uint8)))
    turned = upright.rotation % 180 != 0
    size = (frame.height, frame.width) if turned else (frame.width, frame.height)
    return rgb, size


def _scores(rgb: Any, faces: list[Face], profile: str) -> list[dict[str, float]]:
    """Calibrated scores of each face, by detector."""
    detector = VisualDetector()
    for index, face in enumerate(faces):
        track = FaceTrack(
            subject=index,
            frame_ids=np.zeros(1, np.int64),
            times=np.zeros(1),
            crops=align(rgb, face.landmarks)[None],
            boxes=face.box[None],
            landmarks=face.landmarks[None],
            quality=np.ones(1, np.float32),
            mouth_times=np.zeros(0),
            mouths=np.zeros((0, 64, 64), np.uint8),
        )
        detector.observe(Chunk(0.0, 0.0, (track,), None))
    settings = equipped(load_profile(profile))
    known = {config.name: config.calibration for config in settings.detectors}
    found: list[dict[str, float]] = [{} for _ in faces]
    for evidence in detector.conclude():
        if evidence.subject is None or evidence.logit is None:
            continue
        config = known.get(evidence.detector)
        if config is None:
            continue
        score = float(config.build().probability(evidence.logit))
        found[evidence.subject][evidence.detector] = score
    return found
