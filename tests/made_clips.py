"""A made-up prepared set in memory, and a network small enough to train within a test."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.detectors.contract_input import Faces, Voice
from aura.training.contract.config import ContractConfig, read_config
from aura.training.contract.dataset import Making
from aura.training.data.clip import Clip, Span, Truth
from aura.training.data.extract import Footage
from aura.training.data.manifest import Row, write_manifest
from aura.training.data.prepared import SHARD_COLUMNS
from aura.training.data.shards import shard_name, write_shard

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 224
RATE = 16_000
BLOCK = 512


class MadeClips:
    """Clips whose faces are grey levels that say which picture they are; fakes hum.

    Args:
        rows: of the set. seconds: of each clip. fps: of each, or one for all.
        silent: clips without sound. truths: instead of what the label says.
    """

    def __init__(
        self,
        rows: list[Row],
        seconds: float = 3.0,
        fps: float | dict[int, float] = 5.0,
        silent: tuple[int, ...] = (),
        truths: dict[int, Truth] | None = None,
    ) -> None:
        self.rows, self.seconds, self.fps = rows, seconds, fps
        self.silent, self.truths = silent, truths or {}
        self.loads: list[tuple[int, tuple[float, float] | None]] = []

    @property
    def data_hash(self) -> str:
        return hashlib.sha256(
            repr([(r.path, r.label, r.split) for r in self.rows]).encode()
        ).hexdigest()

    def fps_of(self, index: int) -> float:
        return self.fps.get(index, 5.0) if isinstance(self.fps, dict) else self.fps

    def span_of(self, index: int) -> tuple[float, float]:
        return 0.0, self.seconds

    def load(self, index: int, span: tuple[float, float] | None = None) -> Clip:
        self.loads.append((index, span))
        low, high = span or (0.0, self.seconds)
        low, high = max(0.0, low), min(self.seconds, high)
        fps, row = self.fps_of(index), self.rows[index]
        ids = np.arange(round(self.seconds * fps))
        ids = ids[(ids / fps >= low) & (ids / fps < high)]
        crops = np.empty((len(ids), SIDE, SIDE, 3), np.uint8)
        crops[:] = ((ids * 3 + index) % 256).astype(np.uint8)[:, None, None, None]
        random = np.random.default_rng(index)
        sound = random.normal(0, 0.05, round(self.seconds * RATE)).astype(np.float32)
        if row.target:
            sound += 0.1 * np.sin(np.arange(len(sound)) / RATE * 2 * np.pi * 220).astype(np.float32)
        if index in self.silent:
            sound = sound[:0]
        blocks = -(-len(sound) // BLOCK)
        truth = self.truths.get(index, Truth(row.target, row.target, row.target, row.target))
        return Clip(
            row=row,
            fps=fps,
            span=(low, high),
            frame_ids=ids,
            faces=Faces(ids / fps, crops, np.ones((len(ids), 2), np.float32)),
            landmarks=np.full((len(ids), 5, 2), SIDE / 2, np.float32),
            voice=Voice(0.0, sound, np.ones(blocks, np.float32)),
            truth=truth,
        )


def made_rows(split: str, real: int, fake: int, start: int = 0) -> list[Row]:
    """Rows of as many people, one clip each."""
    labels = ["real"] * real + ["fake"] * fake
    return [
        Row(
            path=f"{split}/{start + i}.mp4",
            label=label,
            split=split,
            identity=f"{split}-{start + i}",
            group=f"{split}-{start + i}",
        )
        for i, label in enumerate(labels)
    ]


def made_set(**options: Any) -> MadeClips:
    """Six people to train on and eight to validate with, half of the clips fake."""
    return MadeClips(made_rows("train", 4, 4) + made_rows("val", 4, 4), **options)


def _louder(kind: str, clip: Clip, random: np.random.Generator, lie: bool) -> Clip:
    sound = clip.voice.samples * np.float32(random.uniform(0.5, 0.9))
    clip = replace(clip, voice=clip.voice._replace(samples=sound))
    if not lie:
        return clip
    end = clip.span[1]
    spans = (Span("audio", end - 1.0, end),) if kind == "partial_audio" else None
    return replace(clip, truth=Truth(1, 0, 1, 1 if kind == "swap" else -1, spans))


def _applicable(kind: str, clip: Clip, donor: Clip | None = None) -> bool:
    return clip.truth.label == 0 and clip.has_sound


MAKING = Making(
    _applicable,
    lambda kind, clip, random, donor=None, motion=True: _louder(kind, clip, random, True),
    lambda kind, clip, random, donor=None, motion=True: _louder(kind, clip, random, False),
    lambda clip, random, motion=True: replace(
        clip,
        faces=clip.faces._replace(crops=clip.faces.crops + np.uint8(random.integers(1, 9))),
    ),
)


def tiny_config(**changes: object) -> ContractConfig:
    """No video, a speech encoder of one thin layer: milliseconds a step."""
    small = read_config("small")
    speech = {
        "hidden": 16,
        "layers": 1,
        "width": 8,
        "architecture": {
            **small.speech.architecture,
            "intermediate_size": 16,
            "conv_dim": [8] * 7,
        },
    }
    return small.changed(
        **{  # type: ignore[arg-type]
            "enable_video": False,
            "temporal": {"width": 8},
            "speech": speech,
            "fusion": {"width": 8},
            **changes,
        }
    )


def calm_config() -> ContractConfig:
    """The same without any dropout."""
    still = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout")
    tiny = tiny_config(
        modality_dropout=0.0,
        heads={"dropout": 0.0},
    )
    return tiny.changed(
        temporal={"dropout": 0.0},
        fusion={"dropout": 0.0},
        speech={"architecture": {**tiny.speech.architecture, **dict.fromkeys(still, 0.0)}},
    )


def seeing_config(**changes: object) -> ContractConfig:
    """With video: an EfficientNet of a few thousand parameters."""
    thin = {"width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128}
    appearance = {
        "kind": "efficientnet",
        "width": 128,
        "pretrained": None,
        "architecture": thin,
    }
    return tiny_config(enable_video=True, appearance=appearance, **changes)


def write_set(folder: Path, clips: MadeClips) -> Path:
    """The same as a prepared folder, as `aura data prepare` leaves it."""
    listed = []
    for number, row in enumerate(clips.rows):
        clip = clips.load(number)
        count = len(clip.faces.times)
        shot = Footage(
            fps=clip.fps,
            start=clip.span[0],
            end=clip.span[1],
            frame_ids=clip.frame_ids,
            times=clip.faces.times,
            crops=clip.faces.crops,
            landmarks=clip.landmarks,
            motion=clip.faces.motion,
            sound_start=0.0,
            sound=(clip.voice.samples * 32767).astype(np.int16),
            speech=clip.voice.speech,
            people=1,
            sampled=count,
            without_face=0,
            with_several=0,
        )
        info = write_shard(folder, shard_name(f"{number:064x}"[::-1]), shot)
        cells = (info.shard, info.content, info.fps, info.start, info.end, info.frames)
        values = [*map(str, cells), str(info.speech), str(info.people)]
        listed.append(replace(row, extra=dict(zip(SHARD_COLUMNS, values, strict=True))))
    write_manifest(folder / "clips.csv", listed)
    head = {"format": 1, "complete": True, "settings": {"fps": 5.0}, "manifest_sha256": "0" * 64}
    (folder / "prepared.json").write_text(json.dumps(head), encoding="utf-8")
    return folder
