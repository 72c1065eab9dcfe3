"""One command from kept reports to the profile: temperatures, weights, levels, stretches, figures.

Nothing is decoded or detected here, so it can be run again whenever weights have changed and
`judge` has gone through. What stands on the card is in `card.json`.
"""

from __future__ import annotations

import datetime
import json
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.metrics import share_interval
from aura.profiles import ErrorRates, SegmentConfig, load_profile, profiles_dir
from aura.runtime import model_card
from aura.training.calibrate import LOOKS_FOR, error_rates
from aura.training.evidence import people_of, without_sound
from aura.training.lite import certainty, localise, worth
from aura.training.lite.fits import Fits
from aura.training.lite.judge import DEV, PROFILE
from aura.training.lite.sets import (
    CONDITIONS,
    DUB_WHOLE,
    FACE_PART,
    FACE_WHOLE,
    MOUTH_WHOLE,
    PHOTOGRAPHS,
    SOUND_ONLY,
    VOICE_WHOLE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.evaluation import LabelledClip
    from aura.profiles import Profile
    from aura.training.lite.judge import Case, Judged

    Found = Sequence[tuple[LabelledClip, float, str]]

# Self-made fakes on which worth and fusion are asked beside the labelled clips.
MADE = (FACE_PART, FACE_WHOLE, VOICE_WHOLE, DUB_WHOLE)
WORN_LIMIT = "Soft, small or heavily compressed faces"  # how the profile's sentence begins
# Conditions that it names, and how.
WORST = {
    "crf40": "coded at CRF 40",
    "hidden": "coded at CRF 40 and then at CRF 18",
    "double": "halved and coded twice",
}
QUARTILES = (0.25, 0.5, 0.75)
COMMAND = "python -m aura.training.lite refit --out runs/lite"
MUTE = "silence"  # the sound taken away, which needs no copy


def refit(judged: Judged, before: Judged | None = None) -> tuple[Profile, dict[str, Any]]:
    """The profile fitted on the labelled clips, and every figure of the card.

    Args:
        before: reports made with earlier weights, to be held against these.
    """
    dev = judged.cases(DEV)
    made = [case for name in MADE for case in judged.cases(name) if case[0].label]
    pool = [*dev, *made]
    copies = {name: _genuine(judged.cases(name)) for name in CONDITIONS}
    worn = [case for name, cases in copies.items() if name not in SOUND_ONLY for case in cases]
    fits, dropped = _without_the_worthless(pool, Fits(dev, load_profile(PROFILE), worn))
    fitted, notes = fits.on_all()
    found = worth.judged_without_source(dev, fits)
    held = worth.fixed(dev, fits)
    more = [case for cases in copies.values() for case in cases]
    levels, material = certainty.levels(fits, [*judged.cases(PHOTOGRAPHS), *more])
    segments, stretches = {}, {}
    for name, modality in localise.MODALITY.items():
        if judged.cases(name):
            stretches[name], rule = localise.measure(judged, name, fitted)
            segments[str(modality)] = SegmentConfig(
                enter=rule.enter, stay=rule.stay, bridge=rule.bridge, shortest=rule.shortest
            )
    shipped = fitted.model_copy(update={"segments": segments})
    about = f"{len(found)} clips for tuning, each judged by a fit without its source"
    rates = error_rates(found, about, COMMAND)
    figures: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "weights": {name: model_card(name).version for name in fitted.models},
        "detectors": {one.name: [one.label, one.weight] for one in fitted.detectors},
        "notes": notes,
        "dropped": dropped,
        "clips": _counts(found),
        "auc": worth.area(held),
        "by method": _by(found, lambda clip: clip.method if clip.label else "genuine"),
        "by source": _by(found, lambda clip: clip.source),
        "made": {
            name: _counts(worth.judged_without_source(judged.cases(name), fits))
            for name in dict.fromkeys((*MADE, MOUTH_WHOLE, *localise.MODALITY))
            if judged.cases(name)
        },
        "photographs": _counts(worth.judged_without_source(judged.cases(PHOTOGRAPHS), fits)),
        "conditions": _conditions(judged, fits),
        "wear": {
            **_wear(judged, fits, copies),
            "stretches": localise.told_in(copies, shipped, judged.profile),
        },
        "ablation": worth.ablation(pool, fits),
        "ablation on labelled clips": worth.ablation(dev, fits),
        "fusion": worth.fusions(pool, fits),
        "fusion on labelled clips": worth.fusions(dev, fits),
        "trust": worth.trust(held),
        "levels": [one.model_dump() for one in levels],
        "material": material,
        "localisation": stretches,
        "segments": {name: one.model_dump() for name, one in segments.items()},
        "error rates": rates,
    }
    if before is not None:
        then = Fits(before.cases(DEV), before.profile)
        earlier = worth.fixed(then.cases, then)
        figures["before"] = {
            "auc": worth.area(earlier),
            "clips": _counts(worth.judged_without_source(then.cases, then)),
            "profile": before.profile.version,
            "auc now minus then": worth.difference(held, earlier),
        }
    update = {
        "segments": segments,
        "false_alarms": tuple(levels),
        "error_rates": ErrorRates(**rates),
    }
    return fitted.model_copy(update=update), figures


def _genuine(cases: Sequence[Case]) -> list[Case]:
    return [case for case in cases if not case[0].label]


def _without_the_worthless(pool: Sequence[Case], fits: Fits) -> tuple[Fits, dict[str, Any]]:
    """Fits without detectors that add nothing to finding what they are for, worst first."""
    dropped: dict[str, Any] = {}
    while True:
        figures = worth.ablation(pool, fits)
        key = "adds on its kind"
        adds = {name: one[key] for name, one in figures.items() if key in one}
        if not adds:
            return fits, dropped
        worst = min(adds, key=lambda name: adds[name][0])
        if adds[worst][0] > 0:
            return fits, dropped
        dropped[worst] = adds[worst]
        detectors = tuple(
            one.model_copy(update={"weight": 0.0}) if one.name == worst else one
            for one in fits.profile.detectors
        )
        fits = fits.of(fits.profile.model_copy(update={"detectors": detectors}))


def _conditions(judged: Judged, fits: Fits) -> dict[str, Any]:
    result: dict[str, Any] = {}
    dev = fits.cases
    sets = {name: judged.cases(name) for name in CONDITIONS}
    sets[MUTE] = [(clip, without_sound(report)) for clip, report in dev]
    for name, cases in sets.items():
        if not cases:
            continue
        there = {(clip.group, clip.label) for clip, _ in cases}
        same = [case for case in dev if (case[0].group, case[0].label) in there]
        found = worth.judged_without_source(cases, fits)
        result[name] = {
            **_counts(found),
            "auc": worth.area(worth.fixed(cases, fits)),
            "auc untouched": worth.area(worth.fixed(same, fits)),
        }
    return result


def _wear(judged: Judged, fits: Fits, copies: Mapping[str, Sequence[Case]]) -> dict[str, Any]:
    """What taking wear into account changes, by condition, and what it costs where nothing is worn.

    Every clip is judged by fits without its source: once without wear, once with it, and once with
    it fitted without any copy in that condition.
    """
    wear = fits.on_all()[0].evidence.wear
    plain = Fits(fits.cases, fits.profile)
    seen = {name: cases for name, cases in copies.items() if name not in SOUND_ONLY and cases}
    result: dict[str, Any] = {"rule": wear and wear.model_dump(), "conditions": {}, "untouched": {}}
    for name in seen:
        others = [case for other, cases in seen.items() if other != name for case in cases]
        unseen = Fits(fits.cases, fits.profile, others)
        cases = judged.cases(name)
        result["conditions"][name] = {
            key: _counts(worth.judged_without_source(cases, one))
            for key, one in (("without", plain), ("with", fits), ("condition left out", unseen))
        }
    for name in (DEV, *MADE):
        if judged.cases(name):
            result["untouched"][name] = {
                key: _counts(worth.judged_without_source(judged.cases(name), one))
                for key, one in (("without", plain), ("with", fits))
            }
    trust = [
        fits.without(clip.source).trust_in(one.wear)
        for clip, report in fits.cases
        for one in people_of(report)
        if one.id == report["prediction"]["decisive_subject"]
    ]
    result["trust in untouched faces"] = [round(float(x), 3) for x in np.quantile(trust, QUARTILES)]
    return result


def _by(found: Found, key: Any) -> dict[str, Any]:
    kinds: dict[str, list[Any]] = {}
    for one in found:
        kinds.setdefault(key(one[0]), []).append(one)
    return {name: _counts(mine) for name, mine in sorted(kinds.items())}


def _counts(found: Found) -> dict[str, Any]:
    """What was said of genuine and of manipulated clips: [called so, all]."""
    real = [said for clip, _, said in found if not clip.label]
    fake = [said for clip, _, said in found if clip.label]
    alarms = share_interval(real.count("fake"), len(real)) if real else None
    hits = share_interval(fake.count("fake"), len(fake)) if fake else None
    return {
        "real": len(real),
        "fake": len(fake),
        "alarms": [round(float(x), 3) for x in (alarms.value, alarms.low, alarms.high)]
        if alarms
        else None,
        "found": [round(float(x), 3) for x in (hits.value, hits.low, hits.high)] if hits else None,
        "missed": fake.count("real"),
        "uncertain": real.count("uncertain") + fake.count("uncertain"),
    }


def write(profile: Profile, figures: dict[str, Any]) -> None:
    """Put what was fitted into the shipped profile; all else in it stays.

    The sentence about worn faces is written anew from the figures.
    """
    path = profiles_dir() / f"{PROFILE}.json"
    raw = json.loads(path.read_text(encoding="utf-8"))
    for entry in raw["detectors"]:
        config = profile.detector(entry["name"])
        if "weight" in entry:
            entry["weight"] = config.weight
        if entry["name"] in LOOKS_FOR:
            entry["calibration"] = config.calibration.model_dump()
    raw["evidence"] = profile.evidence.model_dump()
    raw["fusion"]["calibration"] = profile.fusion.calibration.model_dump()
    raw["segments"] = {name: one.model_dump() for name, one in profile.segments.items()}
    raw["error_rates"] = profile.model_dump(mode="json")["error_rates"]
    raw["false_alarms"] = [one.model_dump() for one in profile.false_alarms]
    raw["limits"] = [
        worn_limit(figures) if one.startswith(WORN_LIMIT) else one for one in raw["limits"]
    ]
    path.write_text(json.dumps(raw, indent=2) + "\n", encoding="utf-8")


def worn_limit(figures: dict[str, Any]) -> str:
    """What stands beside every verdict about worn faces (the page has it in German as well)."""
    told = [
        f"{words} {round(one['alarms'][0] * one['real'])} of {one['real']}"
        for name, words in WORST.items()
        if (one := figures["conditions"].get(name))
    ]
    return (
        f"{WORN_LIMIT} are accused more often. Genuine clips called manipulated: {', '.join(told)}."
    )
