"""The contract network: frames, flow and sound of one-second windows to logits and evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aura.detectors.contract_motion import MOTION_WIDTH
from aura.errors import UsageError
from aura.training.contract.config import (
    CLASSES,
    LANDMARK_VALUES,
    POSE_VALUES,
    ContractConfig,
    Heads,
)
from aura.training.contract.encoders import NEUTRAL_PIXEL, build_appearance, build_speech
from aura.training.contract.fusion import build_fusion
from aura.training.contract.temporal import build_temporal, masked_mean

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Look = Callable[[Tensor], Tensor]


class Windows(NamedTuple):
    """A batch of windows; what a mask calls false may hold anything.

    `aura.detectors.contract_input` cuts them. `frames` (B, T, 3, 224, 224) float32 RGB in [0, 255];
    `motion` (B, T, 2) float32; `frame_mask` (B, T) bool, one aligned face there; `sound` (B, N)
    float32 in [-1, 1] at 16 kHz; `speech_mask` (B, N) bool from voice activity detection. T is one
    of `window_frames`, a shorter window is filled up under the mask. A clip without sound or
    without face has a mask that is false throughout.
    """

    frames: Tensor
    motion: Tensor
    frame_mask: Tensor
    sound: Tensor
    speech_mask: Tensor


class Encoded(NamedTuple):
    """What the costly encoders made of a batch.

    `appearance` (B, T, 1536), or with flow 1538; `frame_mask` (B, T); `speech` (B, S, 768) and
    `speech_mask` (B, S) by token. A masked place holds what means nothing, but is finite.
    """

    appearance: Tensor
    frame_mask: Tensor
    speech: Tensor
    speech_mask: Tensor


class Outputs(NamedTuple):
    """What the network says of a batch of windows; scores are logits, higher = more likely fake.

    `logits` (B, 2), index 1 = fake; `manipulation` (B,); `disagreement` (B,), whether video and
    sound belong apart; `frame_scores` (B, T). Then the tensors of the contract's interfaces:
    `frame_states` (B, T, 2048), `video` (B, 2048), `audio` (B, S, 512), `fused` (B, 512), `joint`
    (B, 2560), `attention` (B, T, S). `landmarks` (B, T, 10) in shares of the crop and `head_pose`
    (B, T, 3) in radians are empty (B, T, 0) unless switched on.

    `frame_mask` (B, T) and `speech_mask` (B, S) say which places were looked at, `has_video` and
    `has_audio` (B,) whether any was: a frame's score counts where its mask is true, disagreement
    where both were there, and nothing where neither was.
    """

    logits: Tensor
    manipulation: Tensor
    disagreement: Tensor
    frame_scores: Tensor
    frame_states: Tensor
    video: Tensor
    audio: Tensor
    fused: Tensor
    joint: Tensor
    attention: Tensor
    landmarks: Tensor
    head_pose: Tensor
    frame_mask: Tensor
    speech_mask: Tensor
    has_video: Tensor
    has_audio: Tensor


class ContractHeads(nn.Module):
    """All that is read off the joint representation and off the frames."""

    def __init__(self, joint: int, video: int, config: Heads) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(joint, CLASSES)
        self.manipulation = nn.Linear(joint, 1)
        self.disagreement = nn.Linear(joint, 1)
        self.frames = nn.Linear(joint, 1)
        self.landmarks = nn.Linear(video, LANDMARK_VALUES) if config.landmarks else None
        self.head_pose = nn.Linear(video, POSE_VALUES) if config.head_pose else None

    def forward(self, joint: Tensor, frames: Tensor, states: Tensor) -> tuple[Tensor, ...]:
        """(B, joint), (B, T, joint), (B, T, video) to the fields of `Outputs`, in its words."""
        joint, frames = self.dropout(joint), self.dropout(frames)
        nothing = states[..., :0]
        return (
            self.classifier(joint),
            self.manipulation(joint)[:, 0],
            self.disagreement(joint)[:, 0],
            self.frames(frames)[..., 0],
            nothing if self.landmarks is None else self.landmarks(states),
            nothing if self.head_pose is None else self.head_pose(states),
        )


class ContractNetwork(nn.Module):
    """EfficientNet and flow, temporal encoder, speech encoder, cross-attention, heads.

    Args:
        config: sizes and switches. store: folder of pretrained encoders, see `pretrained.py`.

    Raises:
        WeightsError: pretrained encoders that can't be had. UsageError: sizes that don't fit.
    """

    def __init__(self, config: ContractConfig, store: Path | None = None) -> None:
        super().__init__()
        self.config = config
        video, width = config.temporal.width, config.fusion.width
        if config.enable_video:
            self.appearance = build_appearance(config.appearance, store)
            self.temporal = build_temporal(config.frame_width, config.temporal)
        if config.enable_audio:
            self.speech = build_speech(config.speech, store)
            self.speech_projection = nn.Sequential(
                nn.Linear(config.speech.hidden, width), nn.LayerNorm(width)
            )
        # Stands for the video where there is none, so that sound can still be asked about.
        self.no_video = nn.Parameter(torch.randn(video) * 0.02)
        self.fusion = build_fusion(video, config.fusion)
        self.heads = ContractHeads(config.joint_width, video, config.heads)

    def forward(
        self,
        frames: Tensor,
        motion: Tensor,
        frame_mask: Tensor,
        sound: Tensor,
        speech_mask: Tensor,
    ) -> Outputs:
        """Judge a batch; the arguments are the fields of `Windows`.

        Raises:
            UsageError: shapes that are not those of `Windows`, or sound shorter than one token.
        """
        return self.decide(self.encode(Windows(frames, motion, frame_mask, sound, speech_mask)))

    def encode(self, windows: Windows, look: Look | None = None) -> Encoded:
        """The costly part: faces and sound to features, masked.

        In training, modality dropout hides the face or the voice of some windows that have both.

        Args:
            windows: to encode; with `look`, frames may be uint8 and on another device.
            look: stands in for the appearance encoder and gets those faces alone that are there,
                (N, 3, 224, 224) to (N, width).

        Raises:
            UsageError: shapes that are not those of `Windows`.
        """
        _check_shapes(windows, self.config.window_frames)
        seen, heard = windows.frame_mask, windows.speech_mask
        if self.training and self.config.modality_dropout and self._both_enabled():
            seen, heard = drop_modalities(seen, heard, self.config.modality_dropout)
        if self.config.enable_video:
            appearance = self.encode_faces(windows.frames, windows.motion, seen, look)
        else:
            seen = torch.zeros_like(seen)
            appearance = windows.motion.new_zeros(*seen.shape, self.config.frame_width)
        if self.config.enable_audio:
            speech, tokens = self.speech(windows.sound, heard)
        else:
            speech = windows.sound.new_zeros(len(heard), 0, self.config.speech.hidden)
            tokens = torch.zeros(len(heard), 0, dtype=torch.bool, device=heard.device)
        return Encoded(appearance, seen, speech, tokens)

    def _both_enabled(self) -> bool:
        return self.config.enable_video and self.config.enable_audio

    def encode_faces(
        self, frames: Tensor, motion: Tensor, seen: Tensor, look: Look | None = None
    ) -> Tensor:
        """What enters the temporal encoder; the arguments are those of `encode`."""
        if look is not None:
            features = motion.new_zeros(*seen.shape, self.config.appearance.width)
            features[seen] = look(frames[seen.to(frames.device)])
            return self.beside_motion(features, motion, seen)
        frames = torch.where(seen[..., None, None, None], frames, NEUTRAL_PIXEL)
        features = self.appearance(frames.flatten(0, 1)).unflatten(0, seen.shape)
        return self.beside_motion(features, motion, seen)

    def beside_motion(self, features: Tensor, motion: Tensor, seen: Tensor) -> Tensor:
        """What enters the temporal encoder: (B, T, 1536), (B, T, 2), (B, T) to (B, T, 1538)."""
        if not self.config.enable_motion:
            return features
        # Motion leads into a frame from the one before it, so it needs both.
        moved = seen & F.pad(seen[:, :-1], (1, 0), value=False)
        return torch.cat([features, torch.where(moved[..., None], motion, 0.0)], dim=2)

    def decide(self, encoded: Encoded) -> Outputs:
        """The cheap part: features to outputs."""
        seen, heard = encoded.frame_mask, encoded.speech_mask
        has_video, has_audio = seen.any(dim=1), heard.any(dim=1)
        if self.config.enable_video:
            states = self.temporal(encoded.appearance, seen)
            states = torch.where(has_video[:, None, None], states, self.no_video)
        else:
            states = self.no_video.expand(*seen.shape, -1)
        counted = seen | ~has_video[:, None]
        if self.config.enable_audio:
            audio = self.speech_projection(encoded.speech)
            audio = torch.where(heard[..., None], audio, 0.0)
        else:
            audio = states.new_zeros(heard.shape[0], 0, self.config.fusion.width)
        answered, attention = self.fusion(states, audio, heard)
        video, fused = masked_mean(states, counted), masked_mean(answered, counted)
        joint = torch.cat([video, fused], dim=1)
        logits, manipulation, disagreement, scores, landmarks, pose = self.heads(
            joint, torch.cat([states, answered], dim=2), states
        )
        return Outputs(
            logits=logits,
            manipulation=manipulation,
            disagreement=disagreement,
            frame_scores=scores,
            frame_states=states,
            video=video,
            audio=audio,
            fused=fused,
            joint=joint,
            attention=attention,
            landmarks=landmarks,
            head_pose=pose,
            frame_mask=seen,
            speech_mask=heard,
            has_video=has_video,
            has_audio=has_audio,
        )

    def parts(self) -> dict[str, nn.Module]:
        """The parts by their names in docs/contract.md, those that are switched on."""
        names = ("appearance", "temporal", "speech", "speech_projection", "fusion", "heads")
        return {name: getattr(self, name) for name in names if hasattr(self, name)}


def drop_modalities(seen: Tensor, heard: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Hide the face or the voice, evenly, in a share of the windows that have both.

    Args:
        seen: (B, T) bool. heard: (B, N) bool. share: in [0, 1).
    """
    both = seen.any(dim=1) & heard.any(dim=1)
    chosen = both & (torch.rand(len(both), device=both.device) < share)
    face = torch.rand(len(both), device=both.device) < 0.5
    return seen & ~(chosen & face)[:, None], heard & ~(chosen & ~face)[:, None]


def _check_shapes(windows: Windows, window_frames: tuple[int, int]) -> None:
    frames, motion, seen, sound, heard = windows
    fits = (
        frames.ndim == 5
        and seen.shape == frames.shape[:2]
        and motion.shape == (*seen.shape, MOTION_WIDTH)
        and sound.ndim == 2
        and heard.shape == sound.shape
        and len(sound) == len(frames)
        and window_frames[0] <= frames.shape[1] <= window_frames[1]
        and seen.dtype == heard.dtype == torch.bool
    )
    if not fits:
        found = ", ".join(
            f"{name} {tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
            for name, value in zip(Windows._fields, windows, strict=True)
        )
        raise UsageError(
            f"these are not windows of {window_frames[0]} to {window_frames[1]} frames as the "
            f"network takes them: {found}"
        )
