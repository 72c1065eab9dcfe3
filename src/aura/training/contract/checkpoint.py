"""Checkpoints of the contract network: a folder that is there as a whole or not at all.

    weights.safetensors   all parameters and running statistics
    checkpoint.json       what they are: configuration, settings, data, code, metrics, hashes
    state.pt              only in RUN/latest: what an exact resumption needs

Nothing in it is executed when it is opened: weights are safetensors, the state is read with
`weights_only`, the rest is JSON.
"""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from aura.errors import UsageError, WeightsError
from aura.runtime import sha256_file
from aura.training.contract.config import ContractConfig  # noqa: TC001 - pydantic reads it
from aura.training.contract.folders import begin, give_up, partial_of, put_in_place, standing
from aura.training.contract.network import ContractNetwork
from aura.versions import tool_versions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

FORMAT = 1  # the newest layout of checkpoint.json and state.pt that this version reads
WEIGHTS, CARD, STATE = "weights.safetensors", "checkpoint.json", "state.pt"
BEST, LATEST = "best", "latest"
# How pickles begin: PyTorch's zip archive, and the bare protocols 2 to 5.
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
LIBRARIES = ("torch", "transformers", "safetensors")


class CheckpointInfo(BaseModel):
    """What is known about the weights in a checkpoint.

    `config` the network; `training` the settings that it was trained with, as plain values;
    `data_hash` of the prepared set; `git_commit` of the code, with `+changes` when it was not
    committed, empty outside a checkout; `epoch` (whole epochs done) and `step` (optimiser steps
    done); `metrics` on the part of the validation people that selects; `created` in UTC.
    `weights_sha256` and `state_sha256` are filled in when the checkpoint is written.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: ContractConfig
    training: dict[str, Any] = {}
    data_hash: str = ""
    git_commit: str = ""
    epoch: int = 0
    step: int = 0
    metrics: dict[str, float | None] = {}
    versions: dict[str, str] = {}
    created: str = ""
    weights_sha256: str = ""
    state_sha256: str = ""


def save_checkpoint(
    folder: Path,
    network: ContractNetwork,
    info: CheckpointInfo,
    state: Mapping[str, Any] | None = None,
) -> CheckpointInfo:
    """Write a checkpoint beside the one that is there, then put it in its place.

    Args:
        folder: usually RUN/best or RUN/latest. network: whose weights are kept.
        info: what to say of them; hashes, versions, commit and time are filled in.
        state: tensors and plain values to resume from; None writes no state.

    Returns:
        The information as it was written.

    Raises:
        UsageError: the folder can't be written or the disk is full; what was there stays.
    """
    partial = partial_of(folder)
    try:
        begin(folder)
        tensors = {
            name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()
        }
        save_file(tensors, partial / WEIGHTS)
        hashes = {"weights_sha256": sha256_file(partial / WEIGHTS), "state_sha256": ""}
        if state is not None:
            with (partial / STATE).open("wb") as stream:
                torch.save(dict(state), stream)
            hashes["state_sha256"] = sha256_file(partial / STATE)
        written = info.model_copy(
            update={
                **hashes,
                "versions": versions(),
                "git_commit": info.git_commit or git_commit(),
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
            }
        )
        document = {"format": FORMAT, **written.model_dump(mode="json")}
        (partial / CARD).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        put_in_place(folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        give_up(folder)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise UsageError(
            f"the checkpoint {folder} can't be written ({_first_line(reason)}); what was there "
            "before is kept: make room or name another folder, then resume"
        ) from error
    return written


def load_checkpoint(folder: Path) -> tuple[ContractNetwork, CheckpointInfo]:
    """The network of a checkpoint, in evaluation mode on the CPU, and what is known about it.

    Args:
        folder: of one checkpoint, or of a run, of which `best` is taken.

    Raises:
        WeightsError: no checkpoint there, corrupt, of a newer format, a pickle in place of
            safetensors, or weights that don't fit the configuration.
    """
    place = checkpoint_folder(folder)
    info = read_info(place)
    # All weights come from this file, so the encoders' own need not be here.
    bare = info.config.changed(appearance={"pretrained": None}, speech={"pretrained": None})
    with torch.random.fork_rng():
        try:
            network = ContractNetwork(bare)
        except (UsageError, ValueError, TypeError) as error:
            raise WeightsError(
                f"{place / CARD} describes a network that can't be built ({_first_line(error)})"
            ) from error
    network.config = info.config
    fill(network, place, info)
    return network.eval(), info


def fill(network: ContractNetwork, folder: Path, info: CheckpointInfo) -> None:
    """Lay a checkpoint's weights over a network's own.

    Raises:
        WeightsError: corrupt, a pickle, or of other names and sizes than the network.
    """
    path = folder / WEIGHTS
    tensors = _read_weights(path, info.weights_sha256)
    try:
        network.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the network of {folder / CARD} "
            f"({_first_line(str(error).partition(':')[2])})"
        ) from error


def read_info(folder: Path) -> CheckpointInfo:
    """What is known about a checkpoint, without opening its weights.

    Raises:
        WeightsError: no checkpoint there, not JSON, of a newer format, or with unknown keys.
    """
    path = standing(folder) / CARD
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(
            f"there is no checkpoint at {folder}: `aura train` writes RUN/best and RUN/latest"
        ) from None
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"{path} can't be read ({_first_line(error)}); take another checkpoint of the run"
        ) from error
    version = raw.pop("format", None) if isinstance(raw, dict) else None
    if not isinstance(version, int) or version < 1:
        raise WeightsError(f"{path} names no format; it is no checkpoint of `aura train`")
    if version > FORMAT:
        raise WeightsError(
            f"{path} has format {version}, this version reads up to {FORMAT}: upgrade aura-veracity"
        )
    try:
        return CheckpointInfo.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(step) for step in first["loc"])
        raise WeightsError(f"{path} does not fit: {place}: {first['msg']}") from error


def read_state(folder: Path) -> dict[str, Any]:
    """The state that an exact resumption needs; tensors and plain values, nothing is executed.

    Raises:
        WeightsError: there is none, it is corrupt, or it holds more than tensors and plain values.
    """
    folder = standing(folder)
    path = folder / STATE
    expected = read_info(folder).state_sha256
    if not path.is_file():
        raise WeightsError(f"{folder} has no {STATE}, so training can't go on from it")
    if sha256_file(path) != expected:
        raise WeightsError(
            f"{path} is not the file that {CARD} describes (SHA-256 differs); it is damaged, "
            "training can't go on from it"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises whatever the bytes lead it to
        raise WeightsError(
            f"{path} can't be read as tensors and plain values; training can't go on from it"
        ) from error
    return dict(state)


def checkpoint_folder(folder: Path) -> Path:
    """The folder itself when it is a checkpoint, else its `best`.

    Raises:
        WeightsError: neither is a checkpoint.
    """
    for place in (folder, folder / BEST):
        if (standing(place) / CARD).is_file():
            return standing(place)
    raise WeightsError(
        f"there is no checkpoint in {folder}: give the folder of a run of `aura train`, or one of "
        "its checkpoints"
    )


def has_checkpoint(folder: Path) -> bool:
    """Whether a checkpoint lies there; one that a stop left aside counts."""
    return (standing(folder) / CARD).is_file()


def versions() -> dict[str, str]:
    """Versions of all that can change a weight."""
    return {**tool_versions(), **{name: metadata.version(name) for name in LIBRARIES}}


def git_commit() -> str:
    """The commit of the checkout that this code runs from, `+changes` if it differs; or empty."""
    root = Path(__file__).parents[4]
    if not (root / ".git").exists():
        return ""

    def git(*words: str) -> str:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", "-C", str(root), *words],  # noqa: S607 - whichever git the user has
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        return done.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "src")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def _read_weights(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        with path.open("rb") as stream:
            start = stream.read(4)
        found = sha256_file(path)
    except OSError as error:
        raise WeightsError(f"{path} can't be read ({error.strerror}); copy it again") from error
    if start.startswith(PICKLE_STARTS):
        raise WeightsError(
            f"{path} is a pickle, which can run code when it is opened; only safetensors are read"
        )
    if found != sha256:
        raise WeightsError(
            f"{path} is not the file that {CARD} describes (SHA-256 differs); it is damaged or was "
            "exchanged: copy it again or take another checkpoint of the run"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is no safetensors file ({_first_line(error)})") from error


def _first_line(text: object) -> str:
    lines = str(text).strip().splitlines()
    return lines[0].strip() if lines else "no reason given"
