"""A public checkpoint as a version in the registry: ONNX, held against PyTorch, with its card."""

from __future__ import annotations

import json
import tempfile
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aura import registry
from aura.errors import WeightsError
from aura.runtime import CARD_FORMAT, open_session, sha256_file
from aura.training.public.networks import Public, read_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aura.hub.catalogue import Source
    from aura.hub.pins import Pin

MODEL_FILE = "model.onnx"
OPSET = 17
PARITY = 1e-3  # largest difference of a logit
CONVERSION = 1  # counts changes of this code that change what is written
ABOUT = (
    "A public checkpoint: this project has neither trained nor measured it.",
    "What its authors report was measured on other data; measure it on yours with aura evaluate.",
)


def version_of(pin: Pin) -> str:
    """What a conversion is called in the registry: the commit, and how it was converted."""
    return f"{pin.revision[:18]}-c{CONVERSION}"


def convert(
    source: Source,
    folder: Path,
    pin: Pin,
    settings: Mapping[str, str],
    fake_label: str | None = None,
) -> str:
    """Turn the files of a checkpoint into a version in the registry, and put it in use.

    Args:
        source: what it is. folder: its files. pin: where they came from, and their sums.
        settings: what it does not say. fake_label: the label that means fake.

    Returns:
        The version.

    Raises:
        WeightsError: it can't be read, or the ONNX file answers differently.
        UsageError: the registry can't be written.
    """
    version = version_of(pin)
    public = read_network(source, folder, settings, fake_label)
    with tempfile.TemporaryDirectory(prefix="aura-") as scratch:
        path = Path(scratch) / MODEL_FILE
        worst = _write(public, path)
        if not worst <= PARITY:  # not a number is larger than any
            raise WeightsError(
                f"{source.name}: the converted file differs from the checkpoint by {worst:.2g} (at "
                f"most {PARITY:g} is allowed); nothing was kept"
            )
        card = _card(source, pin, public, path, worst, dict(settings))
        text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
        registry.add_version(source.name, version, {MODEL_FILE: path}, {registry.CARD: text})
    registry.record(source.name, "pull", version, card["sha256"], note=pin.repo)
    return version


def _write(public: Public, path: Path) -> float:
    """Write the ONNX file; the largest difference to the network over the examples."""
    network = public.network.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of shapes taken for constants: parity shows
        torch.onnx.export(
            network,
            (torch.from_numpy(public.examples[0]),),
            str(path),
            input_names=[public.input_name],
            output_names=["logit"],
            dynamic_axes={public.input_name: public.axes, "logit": {0: public.axes[0]}},
            opset_version=OPSET,
            dynamo=False,
        )
        session = open_session(path, "cpu")
        worst = 0.0
        for example in public.examples:
            wanted = network(torch.from_numpy(example)).numpy()
            found = session.run({public.input_name: example})["logit"]
            if found.shape != wanted.shape:
                return float("inf")
            worst = max(worst, float(np.abs(found - wanted).max()))
    return worst


def _card(  # noqa: PLR0917
    source: Source, pin: Pin, public: Public, path: Path, worst: float, settings: dict[str, str]
) -> dict[str, Any]:
    return {
        "format": CARD_FORMAT,
        "name": source.name,
        "version": version_of(pin),
        "file": path.name,
        "sha256": sha256_file(path),
        "architecture": public.architecture,
        "licence": source.licence,
        "inputs": {public.input_name: public.input_told},
        "outputs": {"logit": "(N,) float32; higher = more likely manipulated"},
        "parameters": {
            "count": sum(one.numel() for one in public.network.parameters()),
            "parity_max_logit_error": float(f"{worst:.2g}"),
            **public.parameters,
            **({"told": settings} if settings else {}),
        },
        "training": {
            "by": "its authors",
            "repository": pin.repo,
            "revision": pin.revision,
            "files_sha256": pin.files,
            "converted": datetime.now(UTC).date().isoformat(),
        },
        "metrics": {},
        "limits": [*ABOUT, *source.limits, *public.limits],
    }
