"""What each detector is worth, and whether a learned fusion beats fixed weights.

Both are asked on sources that took no part: every score comes from a fit without the clip's source,
and two ways of judging the same clips are compared by a paired bootstrap over groups.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from aura.calibration import expected_calibration_error
from aura.evaluation.trust import reliability
from aura.metrics import auc, percentile_interval, resamples
from aura.training.calibrate import LOOKS_FOR
from aura.training.evidence import verdict_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from aura.evaluation import LabelledClip
    from aura.profiles import Profile
    from aura.training.lite.fits import Fits
    from aura.training.lite.judge import Case

    Floats = NDArray[np.float64]

# What is asked of the detectors that look for no kind of picture.
OF_SOUND = {
    "audio": "voice synthesised anew (made)",
    "sync": "another voice laid over (made)",
}
STRENGTH = 0.1  # inverse of the learned fusion's regularisation: few clips, strong reins
DRAWS = 1000  # of a bootstrap
BINS = 5  # of the reliability diagram; few clips


class Held:
    """Clips with their left-out scores."""

    def __init__(self, found: Sequence[tuple[LabelledClip, float]]) -> None:
        self.clips = [clip for clip, _ in found]
        self.scores = np.array([score for _, score in found])
        self.labels = np.array([clip.label for clip in self.clips], np.int64)
        self.groups = np.array([clip.group for clip in self.clips])
        self.paths = [clip.path for clip in self.clips]

    def of_its_kind(self, detector: str) -> Held:
        """Genuine clips, and fakes of the kinds that a detector is for."""
        both = zip(self.clips, self.scores, strict=True)
        return Held([(c, float(s)) for c, s in both if not c.label or _is_for(detector, c)])

    def among(self, others: Held) -> Held:
        """Those that the others scored as well, in the same order."""
        there = set(others.paths)
        both = zip(self.clips, self.scores, strict=True)
        return Held([(clip, float(score)) for clip, score in both if clip.path in there])


def _is_for(detector: str, clip: LabelledClip) -> bool:
    if detector in OF_SOUND:
        return clip.method == OF_SOUND[detector]
    return clip.family in LOOKS_FOR.get(detector, (clip.family,))


def judged_without_source(
    cases: Sequence[Case], fits: Fits
) -> list[tuple[LabelledClip, float, str]]:
    """Clip, score and class by a profile fitted without its source.

    Clips without a score are left out.
    """
    found = []
    for source in sorted({clip.source for clip, _ in cases}):
        fitted = fits.without(source)
        for clip, report in cases:
            if clip.source == source:
                verdict = verdict_of(report, fitted)
                if verdict.score is not None:
                    found.append((clip, verdict.score, str(verdict.overall_class)))
    return found


def fixed(cases: Sequence[Case], fits: Fits) -> Held:
    """The scores of `judged_without_source`."""
    found = judged_without_source(cases, fits)
    return Held([(clip, score) for clip, score, _ in found])


def difference(one: Held, other: Held) -> list[float]:
    """AUC of one minus that of the other on the clips that both scored, with its interval."""
    one, other = one.among(other), other.among(one)
    draws = [
        _auc_drawn(one, weights) - _auc_drawn(other, weights)
        for weights in resamples(one.groups, DRAWS)
    ]
    value = auc(one.labels, one.scores) - auc(other.labels, other.scores)
    return [round(float(x), 3) for x in (value, *percentile_interval(np.array(draws)))]


def area(held: Held) -> list[float]:
    """AUC with its interval; nan where a class is missing."""
    draws = [_auc_drawn(held, weights) for weights in resamples(held.groups, DRAWS)]
    value = auc(held.labels, held.scores)
    return [round(float(x), 3) for x in (value, *percentile_interval(np.array(draws)))]


def _auc_drawn(held: Held, weights: Floats) -> float:
    picked = np.repeat(np.arange(len(held.labels)), weights.astype(int))
    return auc(held.labels[picked], held.scores[picked])


def ablation(cases: Sequence[Case], fits: Fits) -> dict[str, Any]:
    """By detector: AUC without it, what it adds to all fakes and to its kind, AUC alone."""
    profile = fits.profile
    whole = fixed(cases, fits)
    result: dict[str, Any] = {"all detectors": {"auc": area(whole), "clips": len(whole.clips)}}
    counting = [one.name for one in profile.detectors if one.weight > 0]
    for name in counting:
        entry: dict[str, Any] = {}
        if len(counting) > 1:
            less = fixed(cases, fits.of(profile.without([name])))
            if len(set(less.labels.tolist())) == 2:
                entry = {"without": area(less), "adds": difference(whole, less)}
                mine, rest = whole.of_its_kind(name), less.of_its_kind(name)
                if len(set(rest.labels.tolist())) == 2:
                    entry["adds on its kind"] = difference(mine, rest)
                    entry["fakes of its kind"] = int(mine.labels.sum())
            entry["clips"] = len(whole.among(less).clips)
        alone = Held(_alone(cases, name))
        if len(set(alone.labels)) == 2:
            entry["alone"] = area(alone)
            entry["alone on"] = len(alone.clips)
        result[name] = entry
    return result


def _alone(cases: Sequence[Case], name: str) -> list[tuple[LabelledClip, float]]:
    found = []
    for clip, report in cases:
        value = _logits(report).get(name)
        if value is not None:
            found.append((clip, value))
    return found


def _logits(report: dict[str, Any]) -> dict[str, float]:
    """Raw logits of what was judged, of the person who decided."""
    person = report["prediction"]["decisive_subject"]
    return {
        entry["name"]: float(entry["logit"])
        for entry in report["detectors"]
        if entry["status"] == "ok" and entry["subject"] in (person, None)
    }


def learned(cases: Sequence[Case], profile: Profile) -> Held:
    """Scores of a logistic regression over logits and how far they can be trusted.

    Inputs: each detector's logit (its mean where it could not judge) and whether it judged, size
    and quality of the face, share of speech. The bit rate is left out: copies were encoded anew, so
    it would tell the label by how the set was made.
    """
    names = [one.name for one in profile.detectors if one.weight > 0]
    rows = np.stack([_features(report, names) for _, report in cases])
    labels = np.array([clip.label for clip, _ in cases])
    sources = np.array([clip.source for clip, _ in cases])
    scores = np.full(len(cases), np.nan)
    for source in sorted(set(sources)):
        away, mine = sources != source, sources == source
        known = np.isfinite(rows[away])
        means = np.where(known, rows[away], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        filled = np.where(np.isfinite(rows), rows, means)
        model = make_pipeline(
            StandardScaler(), LogisticRegression(C=STRENGTH, class_weight="balanced")
        )
        model.fit(filled[away], labels[away])
        scores[mine] = model.predict_proba(filled[mine])[:, 1]
    return Held([(clip, float(s)) for (clip, _), s in zip(cases, scores, strict=True)])


def _features(report: dict[str, Any], names: Sequence[str]) -> Floats:
    logits = _logits(report)
    person = report["prediction"]["decisive_subject"]
    face = next((one for one in report["subjects"] if one["id"] == person), None)
    speech = next(
        (
            entry["details"]["speech_share"]
            for entry in report["detectors"]
            if "speech_share" in entry["details"]
        ),
        0.0,
    )
    return np.array(
        [
            *(logits.get(name, np.nan) for name in names),
            *(float(name in logits) for name in names),
            np.log(max(face["face_size"], 1.0)) if face else np.nan,
            face["face_quality"] if face else np.nan,
            speech,
        ]
    )


def fusions(cases: Sequence[Case], fits: Fits) -> dict[str, Any]:
    """The learned fusion against the fixed weights."""
    mean, model = fixed(cases, fits), learned(cases, fits.profile)
    gain = difference(model, mean)
    return {
        "clips": len(mean.clips),
        "fakes": int(mean.labels.sum()),
        "fixed weights": area(mean),
        "learned": area(model.among(mean)),
        "learned minus fixed": gain,
        "learned wins": gain[1] > 0,
    }


def trust(held: Held) -> dict[str, Any]:
    """ECE with its interval and the bins of the reliability diagram."""
    ece = expected_calibration_error(held.scores, held.labels, bins=BINS)
    draws = []
    for weights in resamples(held.groups, DRAWS):
        picked = np.repeat(np.arange(len(held.labels)), weights.astype(int))
        draws.append(expected_calibration_error(held.scores[picked], held.labels[picked], BINS))
    bins = reliability(held.labels, held.scores, bins=BINS)
    rows = zip(bins.weight, bins.predicted, bins.fake, strict=True)
    return {
        "ece": [round(float(x), 3) for x in (ece, *percentile_interval(np.array(draws)))],
        "clips": len(held.clips),
        "bins": [[int(n), round(float(p), 3), round(float(y), 3)] for n, p, y in rows],
    }
