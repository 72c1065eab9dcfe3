"""Areas under curves with bootstrap intervals that resample whole groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aura.metrics import auc_interval

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def auc_entry(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> dict[str, Any]:
    """AUC with its 95 % interval as a card shows it; groups (N,) are resampled as wholes."""
    result = auc_interval(np.asarray(labels), np.asarray(scores), np.asarray(groups))
    return {
        "auc": round(result.value, 3),
        "interval_95": [round(result.low, 3), round(result.high, 3)],
        "n": len(np.asarray(labels)),
    }
