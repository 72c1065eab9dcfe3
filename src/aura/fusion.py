"""From evidence to a verdict: calibrate, fuse per person, reject what is unclear, give an interval.

Per person, the calibrated logits of the detectors that ran are averaged with the profile's weights
(times `Evidence.weight`), renormalised over those that ran, and calibrated once more. The clip's
verdict is that of the most suspicious person with enough evidence. A clip on which nothing could
be judged has no score at all.

How the interval comes about is told in `aura.interval`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

from aura.calibration import Calibration, limited_logit, logit, sigmoid
from aura.detectors.base import Evidence, FrameScore, Modality, not_applicable
from aura.interval import Interval, WeightedWindows, score_interval
from aura.windows import Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aura.profiles import Profile
    from aura.wear import Wear

OverallClass = Literal["real", "fake", "uncertain"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
OF_FACES = ("visual", "temporal")  # modalities whose networks wear misleads
EVEN = 0.5  # the score that says neither
NO_FACE = "No face was found."
WORN = (
    "The face is too worn by compression to be called manipulated: genuine faces so worn look as "
    "suspicious."
)


@dataclass(frozen=True)
class Subject:
    """One tracked person: seconds of first and last sight, and what their face offers.

    `faces` counts sampled faces, `quality` is their mean face quality in [0, 1], `size` their mean
    side in pixels of the decoded picture, `wear` what compression left of them, where measured.
    """

    id: int
    first_time: float
    last_time: float
    faces: int
    quality: float
    size: float
    wear: Wear | None = None


@dataclass(frozen=True)
class SubjectVerdict:
    """The verdict on one person, or on the clip's sound alone when `subject` is None.

    `score` is the fused P(fake); None together with `reason` when it could not be judged.
    `confidence` = max(score, 1 - score). `modality_scores` are calibrated P(fake) per modality
    that counted. `contribution` per modality in [-1, 1]: its share in the fused logit, positive
    towards fake; the absolute values sum to 1. `agreement` in [0, 1]: that of a network with a
    head for it (`Evidence.agreement`), else the share of all evidence (weighted calibrated logits)
    that is left when what the modalities say is added up: 1 when all point the same way, 0 when
    they cancel out, None below two modalities. The latter is no measure of synchrony.
    `shares` are the renormalised fusion weights by detector. `evidence` is calibrated. `frames`
    and `windows` (per modality) are fused and calibrated as the score is; windows are there also
    for modalities without a say in this clip's verdict. `trust` in (0, 1]: how much suspicion in
    the face counts, because of its wear; it is in all these numbers.
    """

    subject: Subject | None
    overall_class: OverallClass
    reason: str | None
    score: float | None = None
    confidence: float | None = None
    interval: Interval | None = None
    modality_scores: Mapping[Modality, float] = field(default_factory=dict)
    contribution: Mapping[Modality, float] = field(default_factory=dict)
    agreement: float | None = None
    shares: Mapping[str, float] = field(default_factory=dict)
    evidence: tuple[Evidence, ...] = ()
    frames: tuple[FrameScore, ...] = ()
    windows: Mapping[Modality, tuple[Window, ...]] = field(default_factory=dict)
    trust: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """The verdict on the clip: that of `decisive`, with everybody's beside it."""

    decisive: SubjectVerdict
    subjects: tuple[SubjectVerdict, ...]
    evidence: tuple[Evidence, ...]

    @property
    def overall_class(self) -> OverallClass:
        """Real, fake or uncertain."""
        return self.decisive.overall_class

    @property
    def score(self) -> float | None:
        """Fused P(fake) of the decisive person, None when nothing could be judged."""
        return self.decisive.score


def decide(
    evidence: Sequence[Evidence],
    subjects: Sequence[Subject],
    profile: Profile,
    *,
    seed: str,
    nobody: str = NO_FACE,
) -> Verdict:
    """Turn all evidence into the clip's verdict.

    Args:
        evidence: what the detectors concluded, scores not yet calibrated by the profile. Entries
            without a subject count for everybody.
        subjects: the tracked people.
        profile: weights, calibrations and thresholds.
        seed: SHA-256 of the input; the interval's resampling is seeded with it, so that the same
            file always gets the same interval.
        nobody: why there are no subjects, when there are none.

    Raises:
        KeyError: evidence from a detector that the profile does not name.
    """
    calibrated = trusted(calibrate(evidence, profile), subjects, profile)
    known = complete(calibrated, subjects, profile, nobody)
    verdicts = tuple(_judge(subject, known, profile, seed) for subject in subjects)
    judged = [verdict for verdict in verdicts if verdict.score is not None]
    if judged:
        return Verdict(max(judged, key=lambda one: one.score or 0.0), verdicts, known)
    clip = _judge(None, known, profile, seed)  # rests on what belongs to nobody: the sound
    if clip.score is not None:
        return Verdict(clip, verdicts, known)
    if not verdicts:
        reason = f"{nobody} Nothing else in this clip could be judged."
        return Verdict(replace(clip, reason=reason), verdicts, known)
    # Nothing could be judged: speak about the person with the most to look at.
    most_seen = max(verdicts, key=lambda one: one.subject.faces if one.subject else 0)
    return Verdict(most_seen, verdicts, known)


def calibrate(evidence: Sequence[Evidence], profile: Profile) -> tuple[Evidence, ...]:
    """Apply the profile's calibration to clip, window and frame scores alike.

    The one place where it is applied: detectors hand over `score = sigmoid(logit)`.

    Raises:
        KeyError: a detector that the profile does not name.
    """
    return tuple(
        _calibrate_one(item, profile.detector(item.detector).calibration.build())
        for item in evidence
    )


def _calibrate_one(item: Evidence, calibration: Calibration) -> Evidence:
    if item.status != "ok" or item.score is None:
        return item
    raw = float(logit(item.score)) if item.logit is None else item.logit
    windows = calibration.probability(logit([window.score for window in item.windows]))
    frames = calibration.probability(logit([frame.score for frame in item.frames]))
    return replace(
        item,
        logit=raw,
        score=float(calibration.probability(raw)),
        # The offset belongs to no modality: they share it, so that the parts still sum up.
        parts={
            modality: part / calibration.temperature + calibration.bias / len(item.parts)
            for modality, part in item.parts.items()
        },
        windows=tuple(
            Window(window.start, window.end, float(score))
            for window, score in zip(item.windows, windows, strict=True)
        ),
        frames=tuple(
            FrameScore(frame.frame_id, frame.time, float(score))
            for frame, score in zip(item.frames, frames, strict=True)
        ),
    )


def trusted(
    evidence: Sequence[Evidence], subjects: Sequence[Subject], profile: Profile
) -> tuple[Evidence, ...]:
    """Calibrated evidence less what wear explains: logits of worn faces above 0 are shrunk.

    Scores below one half stay: wear raises what networks see in a genuine face.
    """
    trust = {subject.id: profile.trust_in(subject.wear) for subject in subjects}
    return tuple(
        _shrunk(item, trust[item.subject])
        if item.modality in OF_FACES and item.subject in trust and item.score is not None
        else item
        for item in evidence
    )


def _shrunk(item: Evidence, trust: float) -> Evidence:
    if trust == 1.0:
        return item

    def less(score: float) -> float:
        return float(sigmoid(trust * float(logit(score)))) if score > EVEN else score

    return replace(
        item,
        score=less(item.score or 0.0),
        windows=tuple(replace(window, score=less(window.score)) for window in item.windows),
        frames=tuple(replace(frame, score=less(frame.score)) for frame in item.frames),
    )


def complete(
    evidence: Sequence[Evidence],
    subjects: Sequence[Subject],
    profile: Profile,
    nobody: str = NO_FACE,
) -> tuple[Evidence, ...]:
    """Evidence in the profile's order, with an entry for every detector that said nothing.

    Without any subject, those that look at faces say why (`nobody`), in one voice.
    """
    ordered: list[Evidence] = []
    for config in profile.detectors:
        off = config.unavailable is not None
        own = [] if off else [item for item in evidence if item.detector == config.name]
        faceless = not subjects and config.modality not in {"audio", "joint"}
        if not own:
            reason = config.unavailable or (nobody if faceless else "It did not run.")
            own = [not_applicable(config.name, config.modality, reason)]
        elif faceless:
            own = [replace(one, reason=nobody) if one.score is None else one for one in own]
        ordered += sorted(own, key=lambda item: -1 if item.subject is None else item.subject)
    return tuple(ordered)


@dataclass(frozen=True)
class _Vote:
    """One detector's calibrated, limited logit for a person, with its renormalised weight."""

    item: Evidence
    logit: float
    share: float


def _judge(
    subject: Subject | None, evidence: Sequence[Evidence], profile: Profile, seed: str
) -> SubjectVerdict:
    mine = tuple(
        item
        for item in evidence
        if item.subject is None or (subject is not None and item.subject == subject.id)
    )
    votes = _votes(mine, profile)
    reason = _too_little(subject, votes, profile)
    if reason is not None:
        return SubjectVerdict(subject, "uncertain", reason, evidence=mine)
    final = profile.fusion.calibration.build()
    who = str(subject.id) if subject else "clip"
    fused = sum(vote.share * vote.logit for vote in votes)
    score = float(final.probability(fused))
    confidence = max(score, 1.0 - score)
    overall_class, reason = _classify(score, profile)
    trust = profile.trust_in(subject.wear if subject else None)
    if overall_class != "fake" and trust < 1.0:
        # What would accuse a face that is not worn is no sign that this one is genuine.
        full = sum(vote.share * _in_full(vote, trust) for vote in votes)
        if float(final.probability(full)) >= profile.fusion.fake_from:
            overall_class, reason = "uncertain", WORN
    parts = {
        modality: [vote for vote in votes if vote.item.modality == modality]
        for modality in MODALITIES
    }
    present = {modality: group for modality, group in parts.items() if group}
    modality_scores = {
        modality: float(
            sigmoid(
                sum(vote.share * vote.logit for vote in group) / sum(vote.share for vote in group)
            )
        )
        for modality, group in present.items()
    }
    contribution = _contribution(votes)
    return SubjectVerdict(
        subject,
        overall_class,
        reason,
        score=score,
        confidence=confidence,
        interval=_interval(votes, fused, mine, profile, f"{seed}/{who}"),
        modality_scores=modality_scores,
        contribution=contribution,
        agreement=_agreement(votes, contribution),
        shares={vote.item.detector: vote.share for vote in votes},
        evidence=mine,
        frames=_fuse_frames(votes, final),
        windows=_windows_of(mine, profile, final),
        trust=trust,
    )


def _in_full(vote: _Vote, trust: float) -> float:
    """A vote's logit had the face not been worn."""
    worn = vote.item.modality in OF_FACES and vote.logit > 0
    return vote.logit / trust if worn else vote.logit


def _contribution(votes: Sequence[_Vote]) -> dict[Modality, float]:
    """Signed share of each modality in the fused logit; absolute values sum to 1."""
    sums: dict[Modality, float] = {}
    for vote in votes:
        parts = vote.item.parts or {vote.item.modality: vote.logit}
        for modality, part in parts.items():
            sums[modality] = sums.get(modality, 0.0) + vote.share * part
    total = sum(abs(value) for value in sums.values())
    return {modality: value / total if total else 0.0 for modality, value in sums.items()}


def _agreement(votes: Sequence[_Vote], contribution: Mapping[Modality, float]) -> float | None:
    told = [(vote.item.agreement, vote.share) for vote in votes if vote.item.agreement is not None]
    if told:
        return sum(value * share for value, share in told) / sum(share for _, share in told)
    # Absolute contributions sum to 1: what does not cancel out is their sum.
    # Rounding may leave it a hair above 1.
    return min(abs(sum(contribution.values())), 1.0) if len(contribution) > 1 else None


def _votes(evidence: Sequence[Evidence], profile: Profile) -> list[_Vote]:
    weights = {
        id(item): profile.detector(item.detector).weight * item.weight
        for item in evidence
        if item.status == "ok" and item.score is not None
    }
    voters = [item for item in evidence if weights.get(id(item), 0.0) > 0]
    total = sum(weights[id(item)] for item in voters)
    return [
        _Vote(item, limited_logit(item.score or 0.0), weights[id(item)] / total) for item in voters
    ]


def _too_little(subject: Subject | None, votes: Sequence[_Vote], profile: Profile) -> str | None:
    """Why no score can be given, or None."""
    need = profile.evidence
    if subject is None and not votes:
        return "Nothing in this clip could be judged."
    if subject is not None and subject.faces < need.min_faces:
        seen = "picture" if subject.faces == 1 else "pictures"
        return (
            f"The face was seen in {subject.faces} sampled {seen}; "
            f"{need.min_faces} are needed for a verdict."
        )
    if subject is not None and subject.quality < need.min_face_quality:
        return "The face is too small, too blurred or too far turned away for a verdict."
    if not votes:
        return "None of the detectors could judge this face."
    return None


def _classify(score: float, profile: Profile) -> tuple[OverallClass, str | None]:
    if score >= profile.fusion.fake_from:
        return "fake", None
    if score <= profile.fusion.real_up_to:
        return "real", None
    return "uncertain", "The score lies too close to the middle to say either."


def _fuse_frames(votes: Sequence[_Vote], final: Calibration) -> tuple[FrameScore, ...]:
    """Fused score per sampled picture, from those detectors that score pictures."""
    sums: dict[int, list[float]] = {}
    for vote in votes:
        for frame in vote.item.frames:
            entry = sums.setdefault(frame.frame_id, [frame.time, 0.0, 0.0])
            entry[1] += vote.share * limited_logit(frame.score)
            entry[2] += vote.share
    return tuple(
        FrameScore(frame_id, time, float(final.probability(total / share)))
        for frame_id, (time, total, share) in sorted(sums.items())
    )


def _windows_of(
    evidence: Sequence[Evidence], profile: Profile, final: Calibration
) -> dict[Modality, tuple[Window, ...]]:
    """Fused windows of each modality of which a detector counts in the profile.

    Also where it has no say in this clip's verdict: a voice that is synthetic for 3 s of a minute
    counts nothing as a whole, and these 3 s are what is looked for.
    """
    whole = [replace(item, weight=1.0) for item in evidence]
    votes = _votes(whole, profile)
    found = {}
    for modality in MODALITIES:
        group = [vote for vote in votes if vote.item.modality == modality]
        if group:
            found[modality] = _fuse_windows(group, final)
    return found


def _fuse_windows(votes: Sequence[_Vote], final: Calibration) -> tuple[Window, ...]:
    """Fused score per window of one modality; detectors of one modality cut time alike."""
    sums: dict[tuple[float, float], list[float]] = {}
    for vote in votes:
        for window in vote.item.windows:
            entry = sums.setdefault((round(window.start, 3), round(window.end, 3)), [0.0, 0.0])
            entry[0] += vote.share * limited_logit(window.score)
            entry[1] += vote.share
    return tuple(
        Window(start, end, float(final.probability(total / share)))
        for (start, end), (total, share) in sorted(sums.items())
    )


def _interval(
    votes: Sequence[_Vote],
    fused: float,
    evidence: Sequence[Evidence],
    profile: Profile,
    seed: str,
) -> Interval:
    ran = {item.detector for item in evidence if item.status == "ok"}
    absent = [
        config for config in profile.detectors if config.weight > 0 and config.name not in ran
    ]
    total = sum(each.weight for each in profile.detectors)
    missing = {config.label: config.weight / total for config in absent}
    for vote in votes:
        for what, share in vote.item.lacks.items():
            weight = profile.detector(vote.item.detector).weight * vote.item.weight
            missing[what] = missing.get(what, 0.0) + share * weight / total
    return score_interval(
        [WeightedWindows(vote.item.windows, vote.share) for vote in votes],
        fused,
        missing=missing,
        calibration=profile.fusion.calibration.build(),
        seed=seed,
    )
