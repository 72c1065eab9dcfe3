"""What was said about each clip, in one file format: a header line, then a JSON line a clip.

Whoever makes predictions (a profile, a checkpoint, either of them over perturbed clips) writes
`predictions.jsonl`; figures, plots, the page and comparisons are made from nothing else. A run
that was stopped goes on where it ended: lines are whole, and clips that are there are not judged
again.

Scores are P(fake) in [0, 1], times are seconds of the clip, labels are 1 = fake, 0 = real.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from aura import __version__
from aura.errors import InputError, InputNotFound, UsageError
from aura.lines import LineFile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

PREDICTIONS = "predictions.jsonl"
FORMAT = 1  # the newest layout that this version reads
MARK = "aura_predictions"  # the header's first key; nothing else begins so
HEAD_START = f'{{"{MARK}": '.encode()

Decision = Literal["real", "fake", "uncertain"]
# What the clips were used for before: choosing between checkpoints or fitting thresholds spoils a
# set for reporting, and a file that does not know says so.
Role = Literal["reporting", "selection", "unknown"]


class Window(NamedTuple):
    """A window's score; `label` None where nobody knows."""

    start: float
    end: float
    score: float
    label: int | None


class Frame(NamedTuple):
    """A picture's score; `label` None where nobody knows."""

    time: float
    score: float
    label: int | None


class TrueSegment(NamedTuple):
    """A stretch that was manipulated."""

    modality: str
    start: float
    end: float


class FoundSegment(NamedTuple):
    """A stretch that was called manipulated."""

    modality: str
    start: float
    end: float
    score: float


@dataclass(frozen=True)
class Header:
    """What made the predictions, and on what.

    `model_sha256` stands for all that decides a score (weights and settings); `options` for what
    was changed for this run (a perturbation, an ablation). `trained_on` names the sources that the
    model was trained on, empty when nobody says. `created` is UTC, ISO 8601.
    """

    model: str
    model_sha256: str
    data: str
    data_sha256: str = ""
    split: str = ""
    role: Role = "unknown"
    trained_on: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    command: str = ""
    created: str = ""
    version: str = __version__

    def same_run(self, other: Header) -> bool:
        """Whether predictions under the two may stand in one file."""
        passing = {"command": "", "created": "", "data": ""}
        return {**asdict(self), **passing} == {**asdict(other), **passing}


@dataclass(frozen=True)
class Prediction:
    """What was said about one clip, beside what is known of it.

    `path` is relative to the data set; `sha256` of the file, empty when unknown. `score` is None
    when there was nothing to judge or (`error`) the clip could not be read. `interval` holds its
    bounds where the model gives some. `disagreement` is P(face and voice belong apart).
    `detectors` are raw logits by name. `stamp` is (bytes, mtime in ns) of the file when it was
    judged. `segments_true` None: nobody says where; then a fake is fake throughout.
    """

    path: str
    label: int
    visual: int | None = None
    audio: int | None = None
    method: str = ""
    source: str = ""
    group: str = ""
    identity: str = ""
    split: str = ""
    sha256: str = ""
    subgroups: Mapping[str, str] = field(default_factory=dict)
    score: float | None = None
    logit: float | None = None
    interval: tuple[float, float] | None = None
    decision: Decision | None = None
    windows: tuple[Window, ...] = ()
    frames: tuple[Frame, ...] = ()
    segments_true: tuple[TrueSegment, ...] | None = None
    segments_found: tuple[FoundSegment, ...] = ()
    disagreement: float | None = None
    detectors: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    stamp: tuple[int, int] | None = None


def label_within(
    label: int, segments: Sequence[TrueSegment] | None, start: float, end: float
) -> int:
    """The answer for [start, end): fake where any of a true segment lies, else as the clip.

    >>> label_within(1, [TrueSegment("visual", 2.0, 3.0)], 0.0, 1.0)
    0
    >>> label_within(1, None, 0.0, 1.0)
    1
    """
    if label != 1 or segments is None:
        return label
    return int(any(one.start < end and one.end > start for one in segments))


def visual_label_within(clip: Prediction, start: float, end: float) -> int | None:
    """The answer for the pictures in [start, end), None where nobody knows."""
    label = clip.label if clip.visual is None else clip.visual
    if clip.segments_true is None:
        return label
    visible = [one for one in clip.segments_true if one.modality == "visual"]
    return label_within(label, visible, start, end)


class PredictionsFile(LineFile):
    """`predictions.jsonl`, opened to go on with it; `done` has what is there, by path.

    Raises:
        UsageError: it holds another run's predictions, is no such file, or can't be written.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.header = header
        self.done: dict[str, Prediction] = {}
        self._empty = True
        super().__init__(path)
        if self._empty:
            raw = {**asdict(header), "trained_on": list(header.trained_on)}
            self.append(json.dumps({MARK: FORMAT, **raw}, ensure_ascii=False, allow_nan=False))

    def read(self) -> None:
        """Fill `done`; a line that a crash cut short is dropped."""
        end = 0
        with self.path.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if not line.endswith(b"\n"):
                    # Every line of ours begins like this; anything else is not ours to cut.
                    if number == 1 and not (line + HEAD_START).startswith(HEAD_START[: len(line)]):
                        _read_header(self.path, line)
                    break
                if number == 1:
                    self._check(_read_header(self.path, line))
                    self._empty = False
                else:
                    one = _read_line(self.path, number, line)
                    self.done[one.path] = one
                end += len(line)
        self.cut(end)

    def add(self, prediction: Prediction) -> None:
        """Append one clip.

        Raises:
            InputError: a score that is no number. UsageError: the file can't be written.
        """
        check_scores(prediction, prediction.path)
        self.append(to_line(prediction))
        self.done[prediction.path] = prediction

    def _check(self, there: Header) -> None:
        if not there.same_run(self.header):
            raise UsageError(
                f"{self.path} holds predictions of {there.model} on {there.data} that were made "
                "with other weights, data or options; name another folder"
            )


def to_line(prediction: Prediction) -> str:
    """One JSON line; fields that say nothing are left out."""
    raw = {
        key: value
        for key, value in asdict(prediction).items()
        if value not in (None, "", (), {}) or key in {"path", "label", "score"}
    }
    return json.dumps(raw, ensure_ascii=False, allow_nan=False)


def read_predictions(path: Path) -> tuple[Header, list[Prediction]]:
    """Header and clips of a predictions file, or of the evaluation folder that holds one.

    Of several lines about one clip the last counts.

    Raises:
        InputNotFound: no such file or folder, or it is no evaluation.
        InputError: not readable, of a newer format, without clips, or with scores that are no
            numbers.
    """
    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        raise InputNotFound(
            f"{path} is no evaluation: there is no {file.name} in it; make one with "
            "`aura evaluate DATA --out DIR`"
        )
    clips: dict[str, Prediction] = {}
    header = None
    for one in _lines(file):
        if isinstance(one, Header):
            header = one
        else:
            clips[one.path] = one
    if header is None or not clips:
        raise InputError(f"{file} holds no predictions; run `aura evaluate` again")
    return header, list(clips.values())


def _lines(file: Path) -> Iterator[Header | Prediction]:
    try:
        with file.open("rb") as stream:
            for number, line in enumerate(stream, start=1):
                if number == 1:
                    yield _read_header(file, line)
                elif line.endswith(b"\n"):
                    yield _read_line(file, number, line)
                else:
                    raise InputError(
                        f"{file}, line {number} was cut short; run `aura evaluate` again to go on"
                    )
    except OSError as error:
        raise InputNotFound(f"{file} can't be read ({error.strerror})") from None


def _read_header(file: Path, line: bytes) -> Header:
    try:
        raw = json.loads(line)
        version = raw.pop(MARK)
    except (ValueError, KeyError, AttributeError, TypeError):
        raise InputError(f"{file} is no file of predictions (line 1 says so)") from None
    if not isinstance(version, int) or version > FORMAT:
        raise InputError(
            f"{file} has format {version!r}, this version reads up to {FORMAT}: upgrade "
            "aura-veracity"
        )
    known = {one.name for one in fields(Header)}
    try:
        raw = {key: value for key, value in raw.items() if key in known}
        return Header(**{**raw, "trained_on": tuple(raw.get("trained_on", ()))})
    except TypeError as error:
        raise InputError(f"{file}, line 1 does not fit: {error}") from None


def _read_line(file: Path, number: int, line: bytes) -> Prediction:
    place = f"{file}, line {number}"
    try:
        raw = json.loads(line)
        prediction = _prediction(raw)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{place} is no prediction ({error})") from None
    check_scores(prediction, place)
    return prediction


def _prediction(raw: dict[str, Any]) -> Prediction:
    segments = raw.get("segments_true")
    return Prediction(
        **{
            **raw,
            "interval": tuple(raw["interval"]) if raw.get("interval") else None,
            "stamp": tuple(raw["stamp"]) if raw.get("stamp") else None,
            "windows": tuple(Window(*one) for one in raw.get("windows", ())),
            "frames": tuple(Frame(*one) for one in raw.get("frames", ())),
            "segments_true": None
            if segments is None
            else tuple(TrueSegment(*one) for one in segments),
            "segments_found": tuple(FoundSegment(*one) for one in raw.get("segments_found", ())),
        }
    )


def check_scores(prediction: Prediction, place: str) -> None:
    """Refuse what no figure may be made of.

    Raises:
        InputError: a label that is neither 0 nor 1, or a score that is no number in [0, 1].
    """
    if prediction.label not in {0, 1}:
        raise InputError(f"{place}: label {prediction.label!r} is neither 0 (real) nor 1 (fake)")
    scores = [one.score for one in prediction.windows]
    scores += [one.score for one in prediction.frames]
    scores += [one.score for one in prediction.segments_found]
    if prediction.score is not None:
        scores.append(prediction.score)
    for score in scores:
        if not isinstance(score, int | float) or not 0 <= score <= 1:
            raise InputError(
                f"{place}: the score {score!r} is no number in [0, 1]; a model that gives such "
                "scores is broken, so nothing is measured"
            )
    if prediction.logit is not None and math.isnan(prediction.logit):
        raise InputError(f"{place}: the logit is no number; nothing is measured")
