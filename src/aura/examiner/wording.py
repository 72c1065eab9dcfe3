"""Findings in hedged words: what the numbers say, and never more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aura.report import DetectorReport, Report

HEADLINES = {
    "fake": "The recording resembles manipulated recordings",
    "real": "No sign of manipulation was found",
    "uncertain": "The examination gives no clear answer",
}
MEANINGS = {
    "fake": (
        "The automatic examination found features that it knows from manipulated recordings. This "
        "is an indication and no proof: genuine recordings can show such features as well."
    ),
    "real": (
        "The automatic examination did not find the features of manipulation that it knows. This "
        "does not prove that the recording is genuine: other kinds of manipulation may be missed."
    ),
    "uncertain": (
        "The features that were found are not clear enough for a statement in either direction, or "
        "too little could be judged."
    ),
}
# Bounds of the score and how it is put; the words follow no standard and are explained in print.
STRENGTHS = (
    (0.10, "clearly lower than for manipulated recordings"),
    (0.40, "rather low"),
    (0.60, "in the middle, without direction"),
    (0.90, "raised"),
    (1.01, "strongly raised"),
)
MODALITIES = {
    "visual": "picture of the face",
    "temporal": "motion of the face",
    "audio": "voice",
    "sync": "lips and voice together",
    "joint": "face and voice together",
}
SIGNATURES = {
    "unknown_key": "The signature fits, by a key that is not known here.",
    "altered": "The report was changed after it was signed.",
    "unsigned": "The report is not signed.",
}


def headline(report: Report) -> str:
    """The verdict in a few words."""
    return HEADLINES[report.prediction.overall_class]


def meaning(report: Report) -> list[str]:
    """The verdict in sentences, with what decided it."""
    prediction = report.prediction
    lines = [MEANINGS[prediction.overall_class]]
    if prediction.reason:
        lines.append(f"Reason: {prediction.reason}")
    score, interval = prediction.manipulation_confidence, prediction.confidence_interval
    if score is not None:
        words = next(text for limit, text in STRENGTHS if score < limit)
        between = (
            f", {interval.level:.0%} interval {interval.low:.2f} to {interval.high:.2f}"
            if interval
            else ""
        )
        lines.append(
            f"Score {score:.2f} on a scale from 0 (like genuine recordings) to 1 (like manipulated "
            f"ones){between}: {words}."
        )
    if interval and interval.widened_for:
        lines.append("The interval was widened: " + "; ".join(interval.widened_for) + ".")
    judged = [one for one in report.detectors if one.status == "ok" and one.share]
    if judged:
        kinds = dict.fromkeys(MODALITIES.get(one.modality, one.modality) for one in judged)
        lines.append("The verdict rests on: " + ", ".join(kinds) + ".")
    others = sum(one.score is not None for one in report.subjects)
    if others > 1:
        lines.append(
            f"{others} persons were judged; the verdict is that on person "
            f"{prediction.decisive_subject}, the one with the highest score."
        )
    return lines


def evidence(one: DetectorReport) -> str:
    """What one detector found, in a sentence."""
    if one.score is None:
        return f"Not judged. {one.reason or ''}".strip()
    words = next(text for limit, text in STRENGTHS if one.score < limit)
    counted = f"counts {one.share:.0%} in the verdict" if one.share else "shown, not counted"
    return f"Score {one.score:.2f} ({words}); {counted}."
