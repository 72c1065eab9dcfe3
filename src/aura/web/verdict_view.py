"""A report's verdict as the page puts it: hedged words, a scale, why, and what it can't say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aura.errors import AuraError
from aura.profiles import load_profile
from aura.web.reading import dig, number, plain, rows
from aura.web.said import said

if TYPE_CHECKING:
    from aura.profiles import FusionConfig
    from aura.web.texts import Texts

# Bounds of the score and the text that puts it in words; the same as in the report on paper.
STRENGTHS = ((0.10, "lowest"), (0.40, "low"), (0.60, "middle"), (0.90, "raised"), (1.01, "highest"))
KINDS = ("fake", "real", "uncertain")


@dataclass(frozen=True)
class Scale:
    """A score with its interval, and from where on what is said; all in [0, 1]."""

    score: float
    low: float
    high: float
    level: float | None
    real_up_to: float | None
    fake_from: float | None
    words: str
    label: str


@dataclass(frozen=True)
class Verdict:
    """What the page says first. `kind` is fake, real, uncertain, picture or missing."""

    kind: str
    headline: str
    meaning: str
    reason: str | None
    scale: Scale | None
    why: tuple[str, ...]


@dataclass(frozen=True)
class Card:
    """One detector's finding as a bar; without a score, why."""

    name: str
    label: str
    modality: str
    subject: int | None
    score: float | None
    words: str
    counted: str
    reason: str | None


@dataclass(frozen=True)
class Limits:
    """What the report can't say; sentences, and how often the method errs."""

    rates: tuple[str, ...]
    chance: bool
    statement: str | None
    known: tuple[str, ...]
    not_judged: tuple[str, ...]


def strength(score: float, t: Texts) -> str:
    """A score in words."""
    return t("strength." + next(word for bound, word in STRENGTHS if score < bound))


def label_of(detector: dict[str, Any], t: Texts) -> str:
    """A detector's name in the page's language, or as the report gives it."""
    name = str(detector.get("name") or "")
    return t.maybe(f"detector.{name}", plain(str(detector.get("label") or name or "?")))


def verdict_of(report: Any, t: Texts) -> Verdict:
    """The verdict in words; old records without scores get one that says so."""
    kind = dig(report, "prediction", "overall_class")
    if "image" in {dig(report, "provenance", "input", "kind"), dig(report, "kind")}:
        kind = "picture"  # the second is where older records have it
    elif kind not in KINDS:
        return Verdict("missing", t("verdict.missing"), t("meaning.missing"), None, None, ())
    score = number(report, "prediction", "manipulation_confidence")
    reason = dig(report, "prediction", "reason")
    return Verdict(
        kind,
        t(f"verdict.{kind}"),
        t(f"meaning.{kind}"),
        str(reason) if reason else None,
        _scale(report, kind, score, t),
        tuple(_why(report, t)),
    )


def _scale(report: Any, kind: str, score: float | None, t: Texts) -> Scale | None:
    if score is None:
        return None
    low = number(report, "prediction", "confidence_interval", "low")
    high = number(report, "prediction", "confidence_interval", "high")
    level = number(report, "prediction", "confidence_interval", "level")
    # Of a picture nothing is said anywhere on the scale.
    fusion = None if kind == "picture" else _fusion(report)
    words = strength(score, t)
    label = t("scale.label", score=t.number(score), words=words)
    if low is not None and high is not None:
        label += " " + t("scale.interval", low=t.number(low), high=t.number(high))
    return Scale(
        score,
        score if low is None else low,
        score if high is None else high,
        level if low is not None else None,
        fusion.real_up_to if fusion else None,
        fusion.fake_from if fusion else None,
        words,
        label,
    )


def _fusion(report: Any) -> FusionConfig | None:
    """Bounds of the verdict, where the profile here is the one that the report was made with."""
    try:
        profile = load_profile(str(dig(report, "profile")))
    except AuraError:
        return None
    same = profile.config_sha256 == dig(report, "metadata", "config_sha256")
    return profile.fusion if same else None


def _why(report: Any, t: Texts) -> list[str]:
    lines = []
    judged = [one for one in rows(report, "detectors") if number(one, "share")]
    for one in sorted(judged, key=lambda one: -(number(one, "share") or 0)):
        score, share = number(one, "score"), number(one, "share")
        if score is not None and share is not None and _decides(one, report):
            lines.append(
                t(
                    "why.detector",
                    label=label_of(one, t),
                    score=t.number(score),
                    words=strength(score, t),
                    share=t.percent(share),
                )
            )
    people = [one for one in rows(report, "subjects") if number(one, "score") is not None]
    if len(people) > 1:
        decisive = dig(report, "prediction", "decisive_subject")
        lines.append(t("why.people", n=len(people), person=decisive))
    widened = dig(report, "prediction", "confidence_interval", "widened_for")
    if isinstance(widened, list) and widened:
        lines.append(t("why.widened", what="; ".join(said(one, t).text for one in widened)))
    return lines


def _decides(detector: dict[str, Any], report: Any) -> bool:
    return detector.get("subject") in {None, dig(report, "prediction", "decisive_subject")}


def cards_of(report: Any, t: Texts) -> list[Card]:
    """What each detector found for the person who decides, or for the whole clip."""
    cards = [card_of(one, t) for one in rows(report, "detectors") if _decides(one, report)]
    if not cards:  # nobody decides: show what was said of anybody, once each
        every = {str(one.get("name")): one for one in rows(report, "detectors")}
        cards = [card_of(one, t) for one in every.values()]
    return cards


def card_of(one: dict[str, Any], t: Texts) -> Card:
    """One detector's finding."""
    score, share = number(one, "score"), number(one, "share")
    counted = t("card.counted", share=t.percent(share)) if share else t("card.not_counted")
    subject = one.get("subject")
    return Card(
        name=str(one.get("name") or ""),
        label=label_of(one, t),
        modality=str(one.get("modality") or ""),
        subject=subject if isinstance(subject, int) else None,
        score=score,
        words=strength(score, t) if score is not None else t("card.not_judged"),
        counted=counted if score is not None else "",
        reason=str(one.get("reason")) if one.get("reason") else None,
    )


def limits_of(report: Any, t: Texts) -> Limits:
    """What the report can't say."""
    rates: list[str] = []
    error_rates = dig(report, "limits", "error_rates")
    for name in ("real_called_manipulated", "manipulated_called_real", "uncertain"):
        value = number(error_rates, name, "value")
        if value is not None:
            rates.append(rate_in_words(error_rates, name, t))
    lowest = number(error_rates, "auc", "low")
    return Limits(
        rates=tuple(rates),
        chance=lowest is not None and lowest <= 0.5,
        statement=dig(report, "limits", "statement"),
        known=_sentences(report, "known"),
        not_judged=_sentences(report, "not_judged"),
    )


def rate_in_words(error_rates: Any, name: str, t: Texts) -> str:
    """One error rate with its interval and the number of cases."""
    values = {key: number(error_rates, name, key) or 0.0 for key in ("value", "low", "high")}
    return t(
        f"limits.{name}",
        n=int(number(error_rates, name, "cases") or 0),
        **{key: t.percent(value) for key, value in values.items()},
    )


def _sentences(report: Any, name: str) -> tuple[str, ...]:
    found = dig(report, "limits", name)
    return tuple(map(str, found)) if isinstance(found, list) else ()
