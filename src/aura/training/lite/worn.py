"""How high genuine faces come to score by being worn, by what compression has left of them.

Quantile regression (Koenker and Bassett, 1978) of the faces' fused logit on detail and blocks, over
genuine clips as they are and in all their copies: what a share of them stays below. Every source
weighs alike, since clips of one source are. A face needs to exceed what its wear explains;
`Profile.trust_in` shrinks its score accordingly.

Tried with the tuning clips in view, each judged without its source: shares of .9, .95 and .975,
least squares in place of quantiles, sources weighing by their clips. From .95 on half of the faces
that we replaced ourselves are lost, while one or two of 25 worn genuine clips more are spared at
best; so .9.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import QuantileRegressor

from aura.calibration import limited_logit
from aura.fusion import OF_FACES
from aura.profiles import WearConfig
from aura.training.evidence import people_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.profiles import Profile
    from aura.training.lite.judge import Case
    from aura.wear import Wear

SHARE = 0.9  # of genuine clips so worn that stay below
STRENGTH = 0.02  # of the L1 penalty on standardised measures


def fit_wear(genuine: Sequence[Case], profile: Profile) -> Profile:
    """The profile with what wear explains.

    A measure that would have to count the wrong way round (more detail, more suspicion) is left
    out. Without measures in the reports nothing is explained.
    """
    found = [(clip.source, _face_of(report, profile)) for clip, report in genuine]
    rows = [(source, row) for source, row in found if row is not None]
    wear = None
    if rows:
        values = np.array([[one.detail, one.blocks] for _, (one, _) in rows])
        logits = np.array([logit for _, (_, logit) in rows])
        counts = Counter(source for source, _ in rows)
        weights = np.array([1.0 / counts[source] for source, _ in rows])
        slopes, offset = _quantile(values, logits, weights / weights.mean())
        if slopes.any():  # else wear makes no difference
            wear = WearConfig(
                share=SHARE,
                offset=round(offset, 4),
                detail=round(float(slopes[0]), 4),
                blocks=round(float(slopes[1]), 4),
            )
    evidence = profile.evidence.model_copy(update={"wear": wear})
    return profile.model_copy(update={"evidence": evidence})


def _quantile(values: Any, logits: Any, weights: Any) -> tuple[Any, float]:
    """Slopes (2,) and offset; detail falls with wear and blocks rise with it."""
    middle, spread = values.mean(axis=0), values.std(axis=0) + 1e-9
    scaled = (values - middle) / spread * np.array([-1.0, 1.0])
    used = [0, 1]
    while True:
        model = QuantileRegressor(quantile=SHARE, alpha=STRENGTH, solver="highs")
        slopes = np.zeros(2)
        inputs = scaled[:, used] if used else np.zeros((len(scaled), 1))
        model.fit(inputs, logits, sample_weight=weights)
        slopes[used] = model.coef_[: len(used)]
        wrong = [one for one in used if slopes[one] < 0]
        if not wrong:
            break
        used = [one for one in used if one not in wrong]
    slopes = slopes * np.array([-1.0, 1.0]) / spread
    return slopes, float(model.intercept_ - slopes @ middle)


def _face_of(report: dict[str, Any], profile: Profile) -> tuple[Wear, float] | None:
    """Wear of the person who decided, and the fused logit of what was seen of them alone."""
    person = report["prediction"]["decisive_subject"]
    wear = next((one.wear for one in people_of(report) if one.id == person), None)
    total = weights = 0.0
    for entry in report["detectors"]:
        if (
            entry["modality"] in OF_FACES
            and entry["subject"] == person
            and entry["status"] == "ok"
            and entry["name"] in {one.name for one in profile.detectors}
        ):
            config = profile.detector(entry["name"])
            score = float(config.calibration.build().probability(entry["logit"]))
            total += config.weight * limited_logit(score)
            weights += config.weight
    if wear is None or weights == 0:
        return None
    return wear, float(profile.fusion.calibration.build().logits(total / weights))
