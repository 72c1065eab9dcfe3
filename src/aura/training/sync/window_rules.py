"""Rules that make one number of a window's correlation at each lag: the shipped one, and others.

None of these has anything to fit, so their areas can be set beside each other as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aura.detectors.alignment import steps_of
from aura.detectors.sync_windows import EARLY_TOLERANCE, TOLERANCE, window_correlation
from aura.training.intervals import auc_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aura.detectors.alignment import Agreement
    from aura.training.sync.evaluate import Case

    Rule = Callable[[Case, Agreement], float]

REACH = 0.8  # seconds of lag that rules may look at
PEAK = 0.12  # seconds beside the tolerance that still belong to a peak within it
MOVES = (-0.2, -0.16, -0.12, -0.08, 0.08, 0.12, 0.16, 0.2)  # seconds, above 0 is late


def shipped(case: Case, one: Agreement) -> float:
    """What the detector does."""
    return window_correlation(one, case.lag)


def within(early: float, late: float) -> Rule:
    """The best correlation from `early` seconds before the lips to `late` seconds after them."""
    return lambda _, one: one.best(steps_of(late), steps_of(early))[0]


def at_own_lag(case: Case, one: Agreement) -> float:
    """Near the clip's best lag, whether the clip fits there or not."""
    return window_correlation(one, case.offset)


def at_own_lag_else(rule: Rule) -> Rule:
    """Near the clip's own lag where it fits, else another rule."""
    return lambda case, one: rule(case, one) if case.lag is None else at_own_lag(case, one)


def elsewhere(one: Agreement, early: float) -> float:
    """The best correlation well outside of what may pass; -inf if too little was seen there."""
    outside = (one.lags >= steps_of(TOLERANCE + PEAK)) | (one.lags <= -steps_of(early + PEAK))
    return max((x for x in one.curve[outside].tolist() if not np.isnan(x)), default=-np.inf)


def contrast(rule: Rule, early: float, share: float) -> Rule:
    """A rule less `share` of what a peak elsewhere has more than it; no peak there takes nothing.

    After the confidence of SyncNet (Chung & Zisserman, 2016).
    """

    def value(case: Case, one: Agreement) -> float:
        here = rule(case, one)
        return here - share * max(elsewhere(one, early) - here, 0.0)

    return value


def difference(rule: Rule, early: float) -> Rule:
    """A rule less the best correlation elsewhere, 0 where too little was seen there."""

    def value(case: Case, one: Agreement) -> float:
        far = elsewhere(one, early)
        return rule(case, one) - (far if np.isfinite(far) else 0.0)

    return value


BOTH_WAYS = within(TOLERANCE, TOLERANCE)
VIEWERS = within(EARLY_TOLERANCE, TOLERANCE)
TRIED: dict[str, Rule] = {
    "shipped: the clip's own lag where it fits, else 0.09 s early to 0.2 s late": shipped,
    "0.2 s both ways, as in 1.0.0": BOTH_WAYS,
    "the clip's own lag where it fits, else 0.2 s both ways": at_own_lag_else(BOTH_WAYS),
    "the clip's own lag always": at_own_lag,
    "0.09 s early to 0.2 s late": VIEWERS,
    "0.09 s both ways": within(EARLY_TOLERANCE, EARLY_TOLERANCE),
    "0.2 s early to 0.09 s late": within(TOLERANCE, EARLY_TOLERANCE),
    "0.16 s early to 0.2 s late": within(0.16, TOLERANCE),
    "0.12 s early to 0.2 s late": within(0.12, TOLERANCE),
    "0.04 s early to 0.2 s late": within(0.04, TOLERANCE),
    "0 s early to 0.2 s late": within(0.0, TOLERANCE),
    "0.2 s both ways, less the best elsewhere": difference(BOTH_WAYS, TOLERANCE),
    "0.2 s both ways, less half of what is higher elsewhere": contrast(BOTH_WAYS, TOLERANCE, 0.5),
    "0.2 s both ways, less what is higher elsewhere": contrast(BOTH_WAYS, TOLERANCE, 1.0),
    "0.09 s early to 0.2 s late, less the best elsewhere": difference(VIEWERS, EARLY_TOLERANCE),
    "0.09 s early to 0.2 s late, less half of what is higher elsewhere": contrast(
        VIEWERS, EARLY_TOLERANCE, 0.5
    ),
    "shipped, less half of what is higher elsewhere": contrast(shipped, TOLERANCE, 0.5),
}


def window_areas(
    found: Sequence[Case], kinds: Sequence[str], rule: Rule = shipped
) -> dict[str, Any]:
    """AUC of windows in sync against those of each kind of mismatch."""
    result = {}
    for kind in kinds:
        two = [case for case in found if case.kind in ("in sync", kind)]
        flat = [(int(c.kind == kind), -rule(c, one), c.group) for c in two for one in c.windows]
        result[kind] = auc_entry(*zip(*flat, strict=True))
    return result


def doubted(found: Sequence[Case], threshold: float, rule: Rule) -> dict[str, dict[str, Any]]:
    """By how much the own sound was moved: share of windows below a correlation, and their number.

    Windows overlap and are of few people: a share without an interval, to see the trend.
    """
    result = {}
    for kind in ("in sync", *(f"{seconds:+g} s" for seconds in MOVES)):
        values = [rule(case, one) for case in found if case.kind == kind for one in case.windows]
        share = sum(value < threshold for value in values) / max(len(values), 1)
        result[kind] = {"share": round(share, 3), "n": len(values)}
    return result
