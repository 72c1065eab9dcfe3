"""How the contract network is trained; `training.json` has the contract's own values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError

from aura.errors import UsageError
from aura.training.contract.config import Count, Part, Weight

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULTS = Path(__file__).with_name("training.json")
Rate = Annotated[float, Field(gt=0)]
Model = TypeVar("Model", bound=Part)


class TrainSettings(Part):
    """All that decides what a run learns, beside the network's configuration and the data.

    Loss weights, label smoothing and modality dropout belong to the network's configuration.

    - `learning_rate` of all that is new, `encoder_learning_rate` of what has pretrained weights;
      linear warm-up over `warmup_steps` (at most a tenth of all steps), then a cosine to 0.
    - `batch`: windows in an optimiser step, over all processes and all `accumulate` parts.
    - `early_stop`: epochs without a better `select_by` on the validation people.
    - `gradient_clip`: largest norm of the gradient, 0 = no limit.
    - `amp`: bfloat16 where it is safe; auto = on a GPU.
    - `windows_per_clip`: drawn from each clip that is loaded; `pairs`: kinds of self-made fakes;
      `augment`, `balance`: see `dataset.Recipe`.
    """

    learning_rate: Rate
    encoder_learning_rate: Rate
    weight_decay: Weight
    warmup_steps: Annotated[int, Field(ge=0)]
    batch: Count
    epochs: Count
    early_stop: Count
    gradient_clip: Weight
    accumulate: Count
    amp: Literal["auto", "on", "off"]
    seed: Annotated[int, Field(ge=0, lt=2**32)]
    windows_per_clip: Count
    pairs: tuple[str, ...]
    augment: bool
    balance: bool
    select_by: Literal["auc", "loss"]


class Pace(Part):
    """What changes how a run goes but not what it learns; may differ when it is resumed.

    `workers`: processes that load data; `checkpoint_every`: steps between two checkpoints within
    an epoch, 0 = only at its end; `log_every`: steps between two lines of the log; `device`;
    `tensorboard`: write its files; `again`: how to go on, for the message when it is stopped.
    """

    workers: Annotated[int, Field(ge=0)] = 1
    checkpoint_every: Annotated[int, Field(ge=0)] = 0
    log_every: Count = 10
    device: Literal["auto", "cpu", "cuda"] = "auto"
    tensorboard: bool = True
    again: str = "run the same command again"


def read_settings(path: Path | None = None, **changes: object) -> TrainSettings:
    """The contract's settings, with a JSON file laid over them, and then single values.

    Args:
        path: a JSON object with some or all settings. changes: by name; None leaves as it is.

    Raises:
        UsageError: no such file, not JSON, an unknown name or a value out of range.

    >>> read_settings(epochs=2).batch, read_settings(epochs=2).epochs
    (32, 2)
    """
    document = read_document(DEFAULTS)
    if path is not None:
        document |= read_document(path)
    document |= {name: value for name, value in changes.items() if value is not None}
    return checked(TrainSettings, document)


def read_pace(**values: object) -> Pace:
    """The pace with some values given.

    Raises:
        UsageError: an unknown name or a value out of range.
    """
    return checked(Pace, values)


def checked(model: type[Model], document: dict[str, Any]) -> Model:
    """A document as a model.

    Raises:
        UsageError: an unknown name or a value out of range.
    """
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise UsageError(f"training settings: {place}: {first['msg']}") from error


def read_document(path: Path) -> dict[str, Any]:
    """Settings in a JSON file.

    Raises:
        UsageError: it can't be read, or is no JSON object.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror}): give a JSON file") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid JSON ({error})") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} is not a JSON object with training settings")
    return document


def differences(then: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> list[str]:
    """What two documents disagree on, as `name: then, now`.

    >>> differences({"a": {"b": 1, "c": 2}}, {"a": {"b": 3, "c": 2}})
    ['a.b was 1 and is 3 now']
    """
    found = []
    for name in sorted({*then, *now}):
        place = f"{path}.{name}" if path else name
        old, new = then.get(name), now.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, place)
        elif old != new:
            found.append(f"{place} was {old!r} and is {new!r} now")
    return found
