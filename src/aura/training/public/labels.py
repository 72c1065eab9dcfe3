"""Which of a classifier's outputs means "fake": read from its config, never assumed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aura.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping

FAKE = {"fake", "spoof", "spoofed", "deepfake", "synthetic", "generated", "manipulated", "forged"}
FAKE |= {"ai", "aigenerated", "aivoice", "cloned", "altered"}
REAL = {"real", "bonafide", "genuine", "authentic", "human", "original", "pristine", "humanvoice"}


def fake_index(config: Mapping[str, Any], where: str, told: str | None = None) -> int:
    """The index of the output that means fake.

    Args:
        config: of the checkpoint. where: its file, for errors. told: the label that a person says
            means fake, where names don't tell.

    Raises:
        WeightsError: not two labels, or names that don't tell.

    >>> fake_index({"id2label": {"0": "fake", "1": "real"}}, "config.json")
    0
    """
    labels = config.get("id2label")
    if not isinstance(labels, dict) or sorted(labels, key=str) not in (["0", "1"], [0, 1]):
        raise WeightsError(f"{where} does not name two labels (id2label); its head can't be used")
    names = [str(labels[key]) for key in sorted(labels, key=int)]
    plain = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in names]
    if told is not None:
        wanted = [index for index, name in enumerate(names) if name == told]
        if len(wanted) != 1:
            raise WeightsError(f"{where}: no label is called {told!r}; it has {', '.join(names)}")
        return wanted[0]
    fakes = [index for index, name in enumerate(plain) if name in FAKE]
    reals = [index for index, name in enumerate(plain) if name in REAL]
    if len(fakes) != 1 or len(reals) != 1:
        raise WeightsError(
            f"{where} calls its labels {' and '.join(names)}: which one means fake can't be told; "
            "find out from its authors, then say it with --fake-label"
        )
    return fakes[0]
