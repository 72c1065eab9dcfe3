"""Public encoder weights: fetched once, pinned, read from safetensors alone.

A pickle can run code when it is opened, so nothing here opens one to train on it. Where a hub
offers nothing else, `fetch` turns it into safetensors once, through PyTorch's restricted reader
that knows tensors only. An encoder folder is laid out as `save_pretrained` writes it.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
from safetensors import SafetensorError

from aura.errors import UsageError, WeightsError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from aura.training.contract.config import ContractConfig, Pretrained, Setting

STORE_VARIABLE = "AURA_ENCODERS"
SAFETENSORS = "model.safetensors"
PICKLE = "pytorch_model.bin"
ORIGIN = "origin.json"  # what `fetch` took: source and commit
COMMIT = re.compile(r"[0-9a-f]{40}")
# Trained parameters that the public checkpoints rightly lack or that we have no use for.
NOT_NEEDED = re.compile(r"masked_spec_embed|pooler")
Download = Callable[..., str]


def store_folder(store: Path, source: str) -> Path:
    """Where the store keeps an encoder: its name on the hub, in one folder.

    >>> store_folder(Path("encoders"), "facebook/wav2vec2-base").as_posix()
    'encoders/facebook--wav2vec2-base'
    """
    return store / source.replace("/", "--")


def load_pretrained(
    model_class: type[PreTrainedModel],
    pretrained: Pretrained,
    expected: Mapping[str, Setting],
    store: Path | None = None,
    **settings: float,
) -> PreTrainedModel:
    """Build an encoder from its checkpoint, without touching the network.

    The store that `fetch` made is looked up first, then the hub's own cache on this machine.

    Args:
        model_class: class of transformers. expected: keys of its configuration that must hold.
        store: folder of `fetch`. settings: laid over the checkpoint's configuration (dropouts).

    Raises:
        WeightsError: not there, another revision, a pickle, a broken file, or another layout.
    """
    place, revision = _place(pretrained, store)
    try:
        model, loading = model_class.from_pretrained(
            place,
            revision=revision,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            **settings,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise WeightsError(
            f"the encoder {pretrained.source} can't be read from {place} "
            f"({str(error).splitlines()[0][:160]}): {_remedy(store)}"
        ) from error
    missing = sorted(key for key in loading["missing_keys"] if not NOT_NEEDED.search(key))
    if missing or loading["mismatched_keys"]:
        raise WeightsError(
            f"{place} has no weights for {len(missing) or 'some'} parts of {model_class.__name__}"
            f"{f', such as {missing[0]}' if missing else ''}: it is another network's checkpoint"
        )
    for key, value in expected.items():
        found = getattr(model.config, key, None)
        if _plain(found) != _plain(value):
            raise WeightsError(
                f"{place} is of another size: {key} is {found}, the configuration wants {value}"
            )
    checked: PreTrainedModel = model
    return checked


def _plain(value: object) -> object:
    return list(value) if isinstance(value, (list, tuple)) else value


def _place(pretrained: Pretrained, store: Path | None) -> tuple[str, str | None]:
    """Folder or hub name to load, and the revision for the latter."""
    if store is not None:
        folder = store_folder(store, pretrained.source)
        if folder.is_dir():
            _check_folder(folder, pretrained)
            return str(folder), None
    if pretrained.revision is None or not COMMIT.fullmatch(pretrained.revision):
        raise WeightsError(
            f"the encoder {pretrained.source} is not here and no commit of it is pinned: "
            f"{_remedy(store)}"
        )
    return pretrained.source, pretrained.revision


def _check_folder(folder: Path, pretrained: Pretrained) -> None:
    if not (folder / SAFETENSORS).is_file():
        pickle = folder / PICKLE
        if pickle.is_file():
            raise WeightsError(
                f"{pickle} is a pickle, which is not opened here: turn it into safetensors with "
                f"python -m aura.training.contract convert --checkpoint {folder}"
            )
        raise WeightsError(f"{folder} has no {SAFETENSORS}: delete it and fetch it again")
    origin = folder / ORIGIN
    if pretrained.revision is None or not origin.is_file():
        return
    try:
        taken = json.loads(origin.read_text(encoding="utf-8"))["revision"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{origin} can't be read: delete {folder} and fetch again") from error
    if taken != pretrained.revision:
        raise WeightsError(
            f"{folder} is revision {taken}, the configuration pins {pretrained.revision}: "
            "delete it and fetch again"
        )


def _remedy(store: Path | None) -> str:
    place = store or "FOLDER"
    return (
        f"run python -m aura.training.contract fetch --encoders {place} where there is a network, "
        f"then give --encoders {place} or set {STORE_VARIABLE}"
    )


def convert(folder: Path) -> Path:
    """Turn the pickle of an encoder folder into safetensors beside it; the pickle goes.

    Raises:
        WeightsError: no pickle, or one that holds more than tensors. UsageError: no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name the one that holds {PICKLE}")
    source, target = folder / PICKLE, folder / SAFETENSORS
    if not source.is_file():
        raise WeightsError(f"{folder} holds no {PICKLE} to convert")
    try:
        state: dict[str, Any] = torch.load(source, map_location="cpu", weights_only=True)
        # Copied one by one: safetensors refuses two names for one piece of memory.
        tensors = {name: value.clone().contiguous() for name, value in state.items()}
    except (UnpicklingError, AttributeError, RuntimeError, EOFError, OSError) as error:
        raise WeightsError(
            f"{source} holds more than tensors or is broken, so it was not converted: "
            "take a checkpoint in safetensors"
        ) from error
    unfinished = target.with_suffix(".partial")
    safetensors.torch.save_file(tensors, unfinished, metadata={"format": "pt"})
    unfinished.replace(target)
    source.unlink()
    return target


def fetch(
    config: ContractConfig, store: Path, download: Download = snapshot_download
) -> list[tuple[str, str]]:
    """Download the encoders of a configuration into `store`; those already there are left alone.

    Args:
        download: the hub's client; another one stands in where there is no network.

    Returns:
        Source and commit of each encoder in the store. A commit that the configuration doesn't
        pin yet is worth writing into it.

    Raises:
        WeightsError: the hub can't be reached or has no such revision.
    """
    wanted = [config.appearance.pretrained, config.speech.pretrained]
    done = []
    for pretrained in wanted:
        if pretrained is None or "/" not in pretrained.source:  # lite2 comes as a package
            continue
        folder = store_folder(store, pretrained.source)
        if not folder.is_dir():
            _fetch_one(pretrained, folder, download)
        _check_folder(folder, pretrained)
        origin = json.loads((folder / ORIGIN).read_text(encoding="utf-8"))
        done.append((pretrained.source, str(origin["revision"])))
    return done


def _fetch_one(pretrained: Pretrained, folder: Path, download: Download) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside its place and renamed when whole, so that a stopped download leaves nothing half there.
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        try:
            snapshot = Path(
                download(
                    pretrained.source,
                    revision=pretrained.revision,
                    allow_patterns=["config.json", SAFETENSORS, PICKLE],
                    cache_dir=scratch,
                )
            )
        except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
            raise WeightsError(
                f"{pretrained.source} could not be downloaded "
                f"({str(error).splitlines()[0][:160]}): try again where there is a network"
            ) from error
        whole = Path(scratch) / "whole"
        whole.mkdir()
        names = {path.name for path in snapshot.iterdir()}
        for name in ("config.json", SAFETENSORS if SAFETENSORS in names else PICKLE):
            if name not in names:
                raise WeightsError(f"{pretrained.source} has no {name} at {snapshot.name}")
            shutil.copyfile(snapshot / name, whole / name)
        if SAFETENSORS not in names:
            convert(whole)
        # The hub's cache names a snapshot's folder after its commit.
        origin = {"source": pretrained.source, "revision": snapshot.name}
        (whole / ORIGIN).write_text(json.dumps(origin, indent=2) + "\n", encoding="utf-8")
        whole.rename(folder)
