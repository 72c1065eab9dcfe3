"""Profiles: which detectors run, how much each counts, and what has been measured.

A profile is a JSON file in this folder, checked when it is read. Nothing else belongs here.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aura.calibration import Calibration, logit
from aura.errors import UsageError, WeightsError
from aura.registry import models_dir
from aura.runtime import find_card, read_card, weights_dir
from aura.segments import SegmentRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.wear import Wear

PROFILE_FORMAT = 1  # the newest profile layout that this version reads
DEFAULT_PROFILE = "lite"
# Fields that are read by people: they can change without any number in a report changing.
# A report states `faces`; a level of false alarms that is asked for moves `fusion.threshold`.
DESCRIPTIVE = {"description", "limits", "error_rates", "obtain", "faces", "false_alarms"}
LEVEL_ROUNDING = 1e-9

Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CalibrationConfig(_Part):
    """Temperature and bias, as fitted on the dev clips; the defaults change nothing."""

    temperature: float = Field(default=1.0, gt=0)
    bias: float = 0.0

    def build(self) -> Calibration:
        """The calibration that these numbers describe."""
        return Calibration(self.temperature, self.bias)


class DetectorConfig(_Part):
    """One detector's place in a profile.

    `label` is its name on screen, `models` the weight files it needs, `weight` its share in the
    fusion before renormalisation. `unavailable` says why it never runs in this profile. With
    `obtain`, the command that brings its weights, the profile runs without them, and says so.
    `experimental`: it counts nothing yet, and runs only in a profile that extends this one.
    """

    name: str
    label: str
    modality: Literal["visual", "temporal", "audio", "sync", "joint"]
    models: tuple[str, ...] = ()
    weight: float = Field(default=0.0, ge=0)
    calibration: CalibrationConfig = CalibrationConfig()
    unavailable: str | None = None
    obtain: str | None = None
    experimental: bool = False

    @model_validator(mode="after")
    def _what_may_count(self) -> DetectorConfig:
        for state in ("unavailable", "experimental"):
            if getattr(self, state) and self.weight > 0:
                raise ValueError(f"detector {self.name!r} is {state} but has a weight")
        return self


class FusionConfig(_Part):
    """How detector scores become the verdict.

    A score at or above `threshold` can be called fake; `min_confidence` is the certainty below
    which nothing is called at all. `calibration` is applied to the fused logit.
    """

    calibration: CalibrationConfig = CalibrationConfig()
    threshold: float = Field(default=0.5, gt=0, lt=1)
    min_confidence: float = Field(default=0.6, ge=0.5, lt=1)

    @property
    def fake_from(self) -> float:
        """The score from which on "fake" is said; the threshold can only ask for more."""
        return max(self.threshold, self.min_confidence)

    @property
    def real_up_to(self) -> float:
        """The score up to which "real" is said."""
        return min(self.threshold, 1.0 - self.min_confidence)


class SegmentConfig(_Part):
    """When a suspicious stretch of one modality begins and ends; see `aura.segments`."""

    enter: Share
    stay: Share
    bridge: float = Field(default=0.0, ge=0)
    shortest: float = Field(default=0.0, ge=0)

    def build(self) -> SegmentRule:
        """The rule that these numbers describe."""
        return SegmentRule(self.enter, self.stay, self.bridge, self.shortest)


class WearConfig(_Part):
    """How much suspicion in a face its wear explains.

    `offset + detail * wear.detail + blocks * wear.blocks` is the fused logit of faces alone that a
    share `share` of genuine clips so worn stays below, see `aura.training.lite.worn`.
    """

    share: Share
    offset: float
    detail: float
    blocks: float

    def reach(self, wear: Wear) -> float:
        """The logit that genuine clips so worn reach."""
        return self.offset + self.detail * wear.detail + self.blocks * wear.blocks


class EvidenceConfig(_Part):
    """What a person's face must offer before a verdict on it is given, and to be taken in full."""

    min_faces: int = Field(default=5, ge=1)
    min_face_quality: Share = 0.0
    wear: WearConfig | None = None


class Rate(_Part):
    """A measured share with its 95 % interval, and how many cases it rests on."""

    value: Share
    low: Share
    high: Share
    cases: int = Field(ge=1)


class ErrorRates(_Part):
    """How often the profile was wrong on clips with known answers."""

    data_set: str
    date: str
    command: str
    real_called_manipulated: Rate
    manipulated_called_real: Rate
    uncertain: Rate
    auc: Rate


class FalseAlarmLevel(_Part):
    """What it takes to call no more than a share `level` of genuine clips manipulated.

    From `threshold` on a clip is called manipulated; what lies below and would else be called so
    is left uncertain. `measured`: genuine clips called so by thresholds found without their
    source. `at_most` holds with 95 % confidence for clips like the `clips` that the threshold was
    found on, each judged under several conditions. `uncertain` and `found`: shares of all clips
    left uncertain, and of manipulated ones found, at this threshold.
    """

    level: float = Field(gt=0, lt=0.5)
    threshold: Share
    clips: int = Field(ge=1)
    at_most: Share
    measured: Rate
    uncertain: Rate
    found: Rate
    guaranteed: bool


class Profile(_Part):
    """A checked profile.

    `faces` is whom it judges unless told otherwise. `obtain` are the commands that bring weights
    which don't ship with the package, in order, for those who lack them.
    """

    format: Literal[1]
    name: str
    version: str
    description: str
    detectors: tuple[DetectorConfig, ...] = Field(min_length=1)
    fusion: FusionConfig = FusionConfig()
    evidence: EvidenceConfig = EvidenceConfig()
    segments: dict[str, SegmentConfig] = {}
    faces: Literal["all", "single"] = "all"
    obtain: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    error_rates: ErrorRates | None = None
    false_alarms: tuple[FalseAlarmLevel, ...] = ()

    @model_validator(mode="after")
    def _detectors_make_sense(self) -> Profile:
        names = [detector.name for detector in self.detectors]
        if len(set(names)) < len(names):
            raise ValueError("a detector is named twice")
        if not any(detector.weight > 0 for detector in self.detectors):
            raise ValueError("no detector has a weight above 0")
        return self

    def detector(self, name: str) -> DetectorConfig:
        """One detector's configuration.

        Raises:
            KeyError: the profile does not name it.
        """
        for detector in self.detectors:
            if detector.name == name:
                return detector
        raise KeyError(f"profile {self.name!r} has no detector {name!r}")

    def segment_rule(self, modality: str) -> SegmentRule:
        """When a stretch of this modality is told; by default what would be called manipulated."""
        edge = self.fusion.fake_from
        config = self.segments.get(modality, SegmentConfig(enter=edge, stay=min(edge, 0.5)))
        return config.build()

    def without(self, names: Sequence[str]) -> Profile:
        """The profile with some detectors switched off, to see what they are worth.

        Raises:
            UsageError: the profile has no such detector, or none with a weight is left.
        """
        known = [one.name for one in self.detectors]
        for name in names:
            if name not in known:
                raise UsageError(f"--without {name}: {self.name} has {', '.join(known)}")
        off = {"weight": 0.0, "models": (), "unavailable": "Switched off by --without."}
        detectors = tuple(
            one.model_copy(update=off) if one.name in names else one for one in self.detectors
        )
        if not any(one.weight > 0 for one in detectors):
            raise UsageError("--without leaves no detector that counts in the verdict")
        return self.model_copy(update={"detectors": detectors})

    def allowing(self, level: float | None) -> Profile:
        """The profile that calls fewer clips manipulated, for at most this share of false alarms.

        Raises:
            UsageError: nothing was measured for this level.
        """
        if level is None:
            return self
        asked = self.asked(level)
        threshold = max(self.fusion.threshold, asked.threshold)
        fusion = self.fusion.model_copy(update={"threshold": threshold})
        return self.model_copy(update={"fusion": fusion})

    def asked(self, level: float) -> FalseAlarmLevel:
        """What was measured for a share of false alarms.

        Raises:
            UsageError: nothing was.
        """
        for one in self.false_alarms:
            if abs(one.level - level) < LEVEL_ROUNDING:
                return one
        known = ", ".join(f"{one.level:.0%}" for one in self.false_alarms) or "none"
        raise UsageError(f"--false-alarms {level:.2%}: {self.name} has thresholds for {known}")

    def trust_in(self, wear: Wear | None) -> float:
        """What a face's calibrated logits above 0 are multiplied by, in (0, 1].

        So much that a genuine clip at the edge of those so worn comes out at the edge of what is
        called manipulated, whatever share of false alarms was asked for.
        """
        if wear is None or self.evidence.wear is None:
            return 1.0
        edge = float(logit(self.fusion.min_confidence))
        return edge / max(self.evidence.wear.reach(wear), edge) if edge > 0 else 1.0

    @property
    def models(self) -> tuple[str, ...]:
        """Names of all weight files that the detectors need, each once, in order."""
        return tuple(dict.fromkeys(m for detector in self.detectors for m in detector.models))

    @property
    def config_sha256(self) -> str:
        """SHA-256 over the canonical JSON of everything here that decides a number."""
        decisive = self.model_dump(mode="json", exclude=set(DESCRIPTIVE))
        for detector in decisive["detectors"]:
            del detector["label"], detector["obtain"], detector["experimental"]
        text = json.dumps(decisive, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


def missing_models(profile: Profile) -> list[str]:
    """Networks that are neither shipped nor promoted here, and that can't be done without."""
    return [name for name in _without_absent(profile).models if find_card(name) is None]


def _without_absent(profile: Profile) -> Profile:
    """The profile in which detectors that can do without their weights do so, where they lack them.

    They keep their weight: what was not judged widens the interval.
    """
    return profile.model_copy(
        update={
            "detectors": tuple(
                one.model_copy(
                    update={
                        "models": (),
                        "unavailable": f"Its weights are not on this machine: `{one.obtain}` "
                        "brings them.",
                    }
                )
                if one.obtain and any(find_card(name) is None for name in one.models)
                else one
                for one in profile.detectors
            )
        }
    )


def equipped(profile: Profile) -> Profile:
    """The profile with what belongs to a promoted network: version, calibration and limits.

    Raises:
        WeightsError: a network is not here; says which commands bring it.
    """
    missing = missing_models(profile)
    if missing:
        raise WeightsError(_what_is_missing(profile, missing))
    profile = _without_absent(profile)
    for name in profile.models:
        path = find_card(name)
        if path is None or path.is_relative_to(weights_dir()):
            continue
        card = read_card(path)
        fitted = card.parameters.get("calibration", {})
        try:
            detectors = tuple(
                one.model_copy(update={"calibration": CalibrationConfig(**fitted[one.name])})
                if one.name in fitted
                else one
                for one in profile.detectors
            )
        except (ValidationError, TypeError) as error:
            raise WeightsError(f"the calibration in {path} does not fit ({error})") from None
        limits = tuple(dict.fromkeys((*profile.limits, *card.limits)))
        # A profile that is one network is of that network's version.
        version = card.version if name == profile.name else profile.version
        profile = profile.model_copy(
            update={"version": version, "detectors": detectors, "limits": limits}
        )
    return profile


def chosen(name: str, *, without: Sequence[str] = (), false_alarms: float | None = None) -> Profile:
    """A profile as an analysis uses it: equipped, with what the user asked for.

    Raises:
        UsageError: an unknown profile, detector or level. WeightsError: a network is missing.
    """
    return equipped(load_profile(name).without(without)).allowing(false_alarms)


def share_of(text: str | None) -> float | None:
    """A share as people write it: 5% or 0.05; None stays None.

    >>> share_of("5%"), share_of("0.01"), share_of(None)
    (0.05, 0.01, None)

    Raises:
        UsageError: no share between 0 and 1.
    """
    if text is None:
        return None
    try:
        number = text.strip()
        share = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise UsageError(f"--false-alarms {text!r}: give a share such as 5% or 0.01")
    return share


def _what_is_missing(profile: Profile, missing: list[str]) -> str:
    names = ", ".join(missing)
    if not profile.obtain:
        files = ", ".join(str(weights_dir() / f"{name}.json") for name in missing)
        return f"profile {profile.name} needs {files}, which is not here; reinstall aura-veracity"
    commands = "".join(f"\n    {command}" for command in profile.obtain)
    return (
        f"profile {profile.name} has no weights on this machine: no version of {names} was "
        f"promoted into {models_dir()}. These commands make one:{commands}"
    )


def profiles_dir() -> Path:
    """Folder of the profiles that ship inside the package."""
    return Path(__file__).parent


def profile_names() -> list[str]:
    """Names of the profiles that can be asked for."""
    return sorted(path.stem for path in profiles_dir().glob("*.json"))


def read_profile(path: Path) -> Profile:
    """Read and check one profile file.

    Experimental detectors are switched off, and say so, except in a file that extends another
    profile: it holds the other's name, and what is not as there.

    Raises:
        WeightsError: missing, malformed, or of a format newer than `PROFILE_FORMAT`.
    """
    raw = _read(path)
    extended = raw.pop("extends", None) if isinstance(raw, dict) else None
    if extended is not None:
        base = _read(path.with_name(f"{Path(str(extended)).name}.json"))
        raw = {**base, **raw} if isinstance(base, dict) else base
    try:
        profile = Profile.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole file"
        raise WeightsError(f"the profile {path} does not fit at {where}: {first['msg']}") from None
    return profile if extended is not None else _without_experiments(profile)


def _without_experiments(profile: Profile) -> Profile:
    why = (
        "Not run: it is experimental and counts nothing yet; "
        f"profile {profile.name}-experimental runs it."
    )
    off = {"models": (), "unavailable": why}
    detectors = tuple(
        one.model_copy(update=off) if one.experimental else one for one in profile.detectors
    )
    return profile.model_copy(update={"detectors": detectors})


def _read(path: Path) -> Any:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise WeightsError(f"no profile at {path}; reinstall aura-veracity") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise WeightsError(f"the profile {path} is not valid JSON ({error})") from None
    layout = raw.get("format") if isinstance(raw, dict) else None
    if isinstance(layout, int) and layout > PROFILE_FORMAT:
        raise WeightsError(
            f"the profile {path} has format {layout}, this version reads up to "
            f"{PROFILE_FORMAT}: upgrade aura-veracity"
        )
    return raw


@lru_cache(maxsize=8)
def load_profile(name: str = DEFAULT_PROFILE) -> Profile:
    """A shipped profile by name.

    Raises:
        UsageError: no profile has this name. WeightsError: its file is broken.
    """
    names = profile_names()
    if name not in names:
        raise UsageError(f"--profile {name}: choose one of {', '.join(names)}")
    return read_profile(profiles_dir() / f"{name}.json")
