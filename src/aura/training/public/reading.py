"""A checkpoint's folder, and models of transformers from plain tensors: nothing in it is run."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch

from aura.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZES = {"hidden_size": 4096, "hidden_dim": 4096, "num_hidden_layers": 64}  # the largest taken


def weights_in(folder: Path) -> Path:
    """The one checkpoint in a folder.

    Raises:
        WeightsError: there is none, or several.
    """
    for name in ("model.safetensors", "model.pt", "pytorch_model.bin"):
        if (folder / name).is_file():
            return folder / name
    found = [
        one for one in folder.iterdir() if one.suffix in {".safetensors", ".pt", ".pth", ".bin"}
    ]
    if len(found) != 1:
        raise WeightsError(f"{folder} holds no checkpoint, or several")
    return found[0]


def read_json(path: Path) -> dict[str, Any]:
    """A configuration that came with a checkpoint.

    Raises:
        WeightsError: it can't be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} can't be read ({error}); pull again") from None
    if not isinstance(found, dict):
        raise WeightsError(f"{path} is no configuration")
    return found


def build(
    name: str, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], where: str
) -> tuple[Any, list[str]]:
    """A model of transformers with a checkpoint's tensors, by transformers' own class.

    Args:
        name: of that class; what the config names is not looked at. config: its config.json.
        tensors: by name; those that the model does not know are left. where: for errors.

    Returns:
        The model in float32, and the parts that the tensors lack.

    Raises:
        WeightsError: sizes that make no sense, or tensors that don't fit.
    """
    import transformers  # noqa: PLC0415 - seconds to import

    said = transformers.utils.logging
    before = said.get_verbosity()
    try:
        for key, most in SIZES.items():
            if not 1 <= int(config.get(key, 1)) <= most:
                raise WeightsError(f"{where}: {key} {config[key]} in its config makes no sense")
        said.disable_progress_bar()
        said.set_verbosity_error()  # what is missing is told by the caller
        with tempfile.TemporaryDirectory(prefix="aura-") as scratch:
            plain = Path(scratch)
            (plain / "config.json").write_text(json.dumps(config), encoding="utf-8")
            safetensors.torch.save_file(
                {k: v.clone().contiguous() for k, v in tensors.items()},
                plain / "model.safetensors",
                metadata={"format": "pt"},
            )
            model, loading = getattr(transformers, name).from_pretrained(
                plain,
                local_files_only=True,
                use_safetensors=True,
                attn_implementation="eager",
                output_loading_info=True,
                dtype=torch.float32,
            )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise WeightsError(
            f"{where} is no {name} ({reason[0][:160] if reason else error})"
        ) from None
    finally:
        said.set_verbosity(before)
    if loading["mismatched_keys"]:
        raise WeightsError(f"{where} is no {name} of the sizes that its config says")
    return model, sorted(key for key in loading["missing_keys"] if "masked_spec_embed" not in key)
