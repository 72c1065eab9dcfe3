"""Does a report hold? Its signature, its own sums, its pictures, its video, and a second run.

Every way not to hold has its own exit code, so that a script can tell an edited report from an
edited video from a stranger's key.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from aura import signing
from aura.errors import ReportError, UsageError, WeightsError
from aura.report import SCHEMA_VERSION, Report
from aura.runtime import cuda_available, sha256_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aura.explanation import Picture

    Hook = Callable[[str, float, float | None], None]

# What is wrong, by name, with the exit code that tells it; the first one found decides.
EXIT_CODES = {
    "altered": 10,
    "unknown_key": 11,
    "unsigned": 12,
    "pictures": 13,
    "other_video": 14,
    "weights": 15,
    "differs": 16,
}
MAX_TOLD = 25  # differences named one by one
MAX_SHOWN = 60  # characters of a value

# Where two runs may differ without any number being another.
ABOUT_THE_RUN = (
    "job_id",
    "deterministic_digest",
    "signature",
    "provenance.input.name",
    "provenance.input.path",
    "metadata.processing_time_sec",
    "metadata.started_at",
    "metadata.finished_at",
)
ABOUT_VERSIONS = ("metadata.tool_versions", "provenance.decoding.libraries", "provenance.c2pa")
ABOUT_WEIGHTS = (
    "metadata.models_used",
    "metadata.weights_sha256",
    "metadata.config_sha256",
    "metadata.model_version",
)


@dataclass(frozen=True)
class Finding:
    """One way in which a report does not hold: `kind` of `EXIT_CODES`, and what in words."""

    kind: str
    words: str


@dataclass
class Verification:
    """Everything that was looked at: what holds, what does not, what a reader should know."""

    held: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    report: Report | None = None

    @property
    def exit_code(self) -> int:
        """0 when everything that was looked at holds."""
        found = {one.kind for one in self.findings}
        return next((code for kind, code in EXIT_CODES.items() if kind in found), 0)


def verify(
    path: Path,
    video: Path | None = None,
    hook: Hook | None = None,
    also: Mapping[str, str] = signing.NOBODY,
) -> Verification:
    """Check a report, and with its video run the analysis again.

    Args:
        path: the report's JSON, its pictures beside it. video: the file that it is about.
        hook: told of progress. also: names of keys that are trusted beside this user's, by key id.

    Raises:
        ReportError: the file is no report that this version reads.
        InputError: the video can't be analysed at all.
    """
    done = Verification()
    document, text = signing.read_document(path)
    _check_signature(document, done, also)
    report = _read(path, document, done)
    done.report = report
    if report is None:
        return done
    if text not in {report.to_json(), report.to_line(), report.to_line() + "\n"}:
        done.notes.append(
            "The file was laid out anew (spaces or line ends); what it says is judged above."
        )
    _check_pictures(report, path.parent, done)
    if video is None:
        done.notes.append("Without the video, what was analysed was not looked at.")
        return done
    if _is_the_video(report, video, done):
        _run_again(report, video, done, hook)
    return done


def _check_signature(document: dict[str, Any], done: Verification, also: Mapping[str, str]) -> None:
    found = signing.check(document, also)
    told = found.signature
    if found.status == "unsigned":
        words = "The report carries no signature: anybody may have written or changed it."
        done.findings.append(Finding("unsigned", words))
    elif found.status == "altered" or told is None:
        words = "The report was changed after it was signed: its signature does not fit."
        done.findings.append(Finding("altered", words))
    elif found.status == "unknown":
        words = (
            f"The signature fits, but the key {told.key_id[:16]} is unknown here: whoever made it "
            f"may call themselves {told.signed_by!r}. Ask them for their public key, then "
            "`aura signer trust NAME FILE`."
        )
        done.findings.append(Finding("unknown_key", words))
    else:
        whose = "this user's key" if found.status == "own" else f"trusted key {found.known_as!r}"
        when = told.signed_at.isoformat(timespec="seconds")
        done.held.append(
            f"Signed by {told.signed_by!r} at {when} with {whose} ({told.key_id[:16]})."
        )


def _read(path: Path, document: dict[str, Any], done: Verification) -> Report | None:
    try:
        report = Report.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        stated = document.get("schema_version")
        if stated != SCHEMA_VERSION:
            raise ReportError(
                f"{path} has schema {stated!r}, this version reads {SCHEMA_VERSION}: use the "
                "version of aura that wrote it"
            ) from None
        if done.exit_code:
            done.notes.append(f"It is no whole report either, at {where}: {first['msg']}.")
            return None
        raise ReportError(f"{path} is no report at {where}: {first['msg']}") from None
    if report.digest() != report.deterministic_digest:
        words = "The numbers were changed: they do not fit the report's own checksum."
        done.findings.append(Finding("altered", words))
    else:
        done.held.append("The numbers fit the report's own checksum.")
    return report


def pictures_of(report: Report) -> Iterator[Picture]:
    """All pictures that a report names."""
    told = report.explanation
    if told is None:
        return
    for one in told.maps:
        yield one.frame
        yield one.heat
    if told.spectrogram is not None:
        yield told.spectrogram.picture


def _check_pictures(report: Report, folder: Path, done: Verification) -> None:
    named = list(pictures_of(report))
    fits = 0
    for picture in named:
        target = folder / picture.file
        if not target.is_file():
            done.notes.append(f"The picture {picture.file} is not beside the report.")
        elif sha256_file(target) != picture.sha256:
            words = f"The picture {picture.file} is not the one that the report was signed with."
            done.findings.append(Finding("pictures", words))
        else:
            fits += 1
    if fits:
        done.held.append(f"{fits} of {len(named)} pictures are those that were drawn.")


def _is_the_video(report: Report, video: Path, done: Verification) -> bool:
    if not video.is_file():
        raise UsageError(f"{video}: no such file; give the video that the report is about")
    found, stated = sha256_file(video), report.provenance.input.sha256
    if found == stated:
        done.held.append(f"The video is the one that was analysed (SHA-256 {found[:16]}...).")
        return True
    size = video.stat().st_size
    words = (
        f"The video is not the one that was analysed: SHA-256 {found}, {size} bytes; the report "
        f"is about {stated}, {report.provenance.input.size_bytes} bytes. It was not run again."
    )
    done.findings.append(Finding("other_video", words))
    return False


def _run_again(report: Report, video: Path, done: Verification, hook: Hook | None) -> None:
    from aura import pipeline  # noqa: PLC0415 - checking a signature must not load the engine
    from aura.explain.explainer import Explainer  # noqa: PLC0415

    decoding, asked = report.provenance.decoding, report.limits.false_alarms
    device = "cuda" if report.metadata.device == "cuda" and cuda_available() else "cpu"
    if device != report.metadata.device:
        done.notes.append("First run on CUDA, now on a CPU: the last digits may differ.")
    with tempfile.TemporaryDirectory(prefix="aura-") as folder:
        try:
            again = pipeline.analyze(
                video,
                profile=report.profile,
                faces=decoding.faces,
                fps=decoding.sampling_fps,
                device=device,
                hook=hook,
                explain=Explainer(Path(folder)) if report.explanation else None,
                without=report.metadata.without,
                false_alarms=asked.level if asked else None,
            )
        except WeightsError as error:
            words = f"The run could not be repeated: {error}."
            done.findings.append(Finding("weights", words))
            return
        except UsageError as error:
            done.findings.append(Finding("differs", f"The run could not be repeated: {error}."))
            return
    _tell_differences(report, again, done)


def _tell_differences(first: Report, again: Report, done: Verification) -> None:
    groups: dict[str, list[str]] = {"versions": [], "weights": [], "differs": []}
    for place, stated, found in differences(first, again):
        line = f"{place}: {_short(stated)} in the report, {_short(found)} now"
        groups[_group(place)].append(line)
    done.notes += [f"Other version: {line}" for line in groups["versions"]]
    for kind in ("weights", "differs"):
        lines = groups[kind]
        done.findings += [Finding(kind, line) for line in lines[:MAX_TOLD]]
        if len(lines) > MAX_TOLD:
            more = f"... and {len(lines) - MAX_TOLD} more differences"
            done.findings.append(Finding(kind, more))
    if not groups["differs"]:
        done.held.append("A second run gave the same numbers, all of them.")


def _group(place: str) -> str:
    if place.startswith(ABOUT_VERSIONS):
        return "versions"
    return "weights" if place.startswith(ABOUT_WEIGHTS) else "differs"


def differences(first: Report, again: Report) -> Iterator[tuple[str, Any, Any]]:
    """Where two reports say different things: (place, first value, second value).

    Names, paths, times and signatures are left out; lists of another length count once.
    """
    one, other = (report.model_dump(mode="json") for report in (first, again))
    yield from _unlike("", one, other)


def _unlike(place: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if place in ABOUT_THE_RUN or one == other:
        return
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            inner = f"{place}.{key}" if place else key
            yield from _unlike(inner, one.get(key), other.get(key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _unlike(f"{place}[{index}]", left, right)
    else:
        yield place, one, other


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"{len(value)} entries"
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= MAX_SHOWN:
        return text
    return f"{text[: MAX_SHOWN - 20]}... (SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:8]})"
