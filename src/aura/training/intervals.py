"""Figures with their 95 % intervals, as cards show them; groups are resampled as wholes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aura.metrics import auc, auc_interval, bootstrap, share_interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def auc_entry(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> dict[str, Any]:
    """AUC with its 95 % interval as a card shows it; groups (N,) are resampled as wholes."""
    result = auc_interval(np.asarray(labels), np.asarray(scores), np.asarray(groups))
    return {
        "auc": round(result.value, 3),
        "interval_95": [round(result.low, 3), round(result.high, 3)],
        "n": len(np.asarray(labels)),
    }


def share_entry(hits: Sequence[bool] | NDArray[np.bool_]) -> dict[str, Any]:
    """The share of hits among all cases, with its 95 % interval as a card shows it."""
    result = share_interval(int(np.sum(hits)), len(hits))
    return {
        "share": round(result.value, 3),
        "interval_95": [round(result.low, 3), round(result.high, 3)],
        "n": len(hits),
    }


def gain_entry(
    labels: ArrayLike, before: ArrayLike, after: ArrayLike, groups: ArrayLike
) -> dict[str, Any]:
    """The AUC of the scores before, and what the new ones gain on the same entries.

    The interval is the paired bootstrap's: both are scored on each resample of the groups.
    """
    y, old, new = np.asarray(labels), np.asarray(before), np.asarray(after)

    def gain(some: NDArray[Any], rows: NDArray[Any]) -> float:
        picked = rows.astype(int)
        return auc(some, new[picked]) - auc(some, old[picked])

    result = bootstrap(gain, y, np.arange(len(y)), groups)
    return {
        "before": round(auc(y, old), 3),
        "gain": round(result.value, 3),
        "gain_interval_95": [round(result.low, 3), round(result.high, 3)],
    }
