"""Every size and switch of the contract network, in one frozen document.

`full.json` is the locked Model Contract, `small.json` the same network on encoders that two cores
can train, `quick.json` the same on encoders that ship with the package and keep still, so that what
stands on them trains in minutes. A key that no model knows is an error: a misspelt switch must not
pass for its default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aura.detectors.contract_motion import MOTION_WIDTH
from aura.errors import UsageError

IMAGE_SIDE = 224  # contract: aligned face, pixels
SAMPLE_RATE = 16_000  # contract: mono speech, Hz
CLASSES = 2  # real, fake: index 1 = fake
LANDMARK_VALUES = 10  # x and y of RetinaFace's 5 landmarks
POSE_VALUES = 3  # yaw, pitch, roll

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
Setting = bool | int | float | str | tuple[int, ...]

NAMED = ("full", "small", "quick")


class Part(BaseModel):
    """Base of all parts: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pretrained(Part):
    """Where an encoder's first weights come from.

    `source` is the name on the public hub and `revision` the commit (40 hexadecimal digits) that
    is taken; a network built with `pretrained` loads nothing else. Without a revision only a copy
    made by `fetch` is taken, which remembers the commit that it was made of.
    """

    source: Annotated[str, Field(min_length=1)]
    revision: str | None = None


class Appearance(Part):
    """Encoder of one aligned face to `width` values.

    `architecture` holds arguments of the encoder's own configuration class; a checkpoint that
    disagrees with them is refused. `batch_norm` "frozen" keeps the running statistics of the
    pretrained weights (batches of a few windows give poor ones); "batch" learns them, as
    training from nothing needs. `frozen` keeps the whole encoder as it is.
    """

    kind: Literal["efficientnet", "lite2"]
    width: Count
    pretrained: Pretrained | None = None
    architecture: dict[str, Setting] = {}
    batch_norm: Literal["frozen", "batch"] = "frozen"
    frozen: bool = False


class Temporal(Part):
    """Encoder of the frames of one window to (B, T, width).

    `model_width`, `layers` and `heads` belong to kind "transformer" alone.
    """

    kind: Literal["conv", "transformer"] = "conv"
    width: Count
    kernel: Literal[3] = 3
    dropout: Share = 0.1
    model_width: Count = 512
    layers: Count = 2
    heads: Count = 4

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        if self.kind == "transformer":
            _check_heads(self.model_width, self.heads)
        return self


class Speech(Part):
    """Encoder of 16 kHz sound to (B, S, width); the first `frozen_layers` never train.

    With any frozen layer, all that lies below the layers (convolutions, projection, positions) is
    frozen with it. `hidden` is the encoder's own width. Kind "whisper" is the stem that the
    lip-sync detector ships with (`whisper.py`); it takes no `architecture`.
    """

    kind: Literal["wav2vec2", "hubert", "whisper"]
    hidden: Count
    layers: Count
    frozen_layers: Annotated[int, Field(ge=0)]
    width: Count
    pretrained: Pretrained | None = None
    architecture: dict[str, Setting] = {}

    @model_validator(mode="after")
    def _frozen_layers_exist(self) -> Self:
        if self.frozen_layers > self.layers:
            raise ValueError(f"frozen_layers must not exceed layers ({self.layers})")
        return self


class Fusion(Part):
    """How video and sound meet; "concatenation" is the baseline of the same width."""

    kind: Literal["cross-attention", "concatenation"] = "cross-attention"
    width: Count
    heads: Count = 4
    dropout: Share = 0.1

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Self:
        _check_heads(self.width, self.heads)
        return self


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ValueError(f"width {width} can't be shared by {heads} heads")


class Heads(Part):
    """What stands on the joint representation; landmarks and head pose are optional tasks."""

    dropout: Share = 0.3
    landmarks: bool = False
    head_pose: bool = False


class Loss(Part):
    """Weights of the loss terms.

    Label smoothing and temporal consistency are the contract's; the weights of the auxiliary
    terms are ours, and no experiment has tuned them yet.
    """

    label_smoothing: Share = 0.1
    temporal_consistency: Weight = 0.1
    manipulation: Weight = 0.2
    disagreement: Weight = 0.2
    frames: Weight = 0.2
    landmarks: Weight = 0.1
    head_pose: Weight = 0.1


class ContractConfig(Part):
    """The whole network.

    `window_frames` are the fewest and most frames of a window: 1 s at 5 to 10 frames a second.
    """

    name: Annotated[str, Field(min_length=1)]
    window_seconds: Annotated[float, Field(gt=0)] = 1.0
    window_frames: tuple[Count, Count] = (5, 10)
    enable_video: bool = True
    enable_audio: bool = True
    enable_motion: bool = True
    modality_dropout: Share = 0.2
    appearance: Appearance
    temporal: Temporal
    speech: Speech
    fusion: Fusion
    heads: Heads = Heads()
    loss: Loss = Loss()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if not (self.enable_video or self.enable_audio):
            raise ValueError("enable_video and enable_audio can't both be false")
        if self.speech.width != self.fusion.width:
            raise ValueError("speech.width and fusion.width must be equal")
        if self.window_frames[0] > self.window_frames[1]:
            raise ValueError("window_frames must be (fewest, most)")
        return self

    @property
    def frame_width(self) -> int:
        """Values of one frame that enter the temporal encoder; the contract's 1538."""
        return self.appearance.width + (MOTION_WIDTH if self.enable_motion else 0)

    @property
    def joint_width(self) -> int:
        """Values that enter the classifier; the contract's 2048 + 512 = 2560."""
        return self.temporal.width + self.fusion.width

    def changed(self, **parts: object) -> ContractConfig:
        """A copy with some keys replaced, checked like a file: `changed(enable_audio=False)`.

        A dictionary is laid over the part that it replaces.

        Raises:
            UsageError: unknown key or value out of range.
        """
        document = self.model_dump()
        for key, value in parts.items():
            old = document.get(key)
            both = isinstance(old, dict) and isinstance(value, dict)
            document[key] = {**old, **value} if both else value  # type: ignore[dict-item]
        return _checked(document, self.name)


def _checked(document: object, name: str) -> ContractConfig:
    try:
        return ContractConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise UsageError(f"configuration {name}: {place}: {first['msg']}") from error


def read_config(name: str | Path) -> ContractConfig:
    """Read a configuration: `full`, `small`, `quick`, or a path to a JSON file.

    Raises:
        UsageError: no such file, not JSON, an unknown key or a value out of range.

    >>> read_config("full").frame_width, read_config("full").joint_width
    (1538, 2560)
    """
    path = Path(__file__).with_name(f"{name}.json") if str(name) in NAMED else Path(name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} can't be read: give {', '.join(NAMED)} or a JSON file") from error
    try:
        return ContractConfig.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise UsageError(f"configuration {path}: {place}: {first['msg']}") from error
