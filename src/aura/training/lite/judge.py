"""Reports on all sets, kept: whatever is fitted or counted later reads them and runs no network.

Reports hang on weights and on the profile in force, which a fit changes: a copy of that profile is
kept beside them, so that raw logits can be had back from the windows' scores. Where a copy changed
the sound alone, its pictures are bit for bit those of the clip that it was made of, and so is what
was found in them: only what listens is run again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aura.batch import ResultsFile, Settings, run_batch
from aura.errors import UsageError
from aura.evaluation import LabelledClip, labelled_clips
from aura.evaluation.clips import MANIFEST
from aura.pipeline import SUBJECT_MODELS, analyze
from aura.profiles import Profile, load_profile, profiles_dir, read_profile
from aura.runtime import model_card
from aura.training.lite.sets import MADE_OF, SOUND_ONLY

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

PROFILE = "lite"
DEV = "dev"  # the labelled clips themselves, unchanged
# Of a card's parameters: no number hangs on them.
TOLD_ONLY = ("count", "rounding_rms_logits", "rounding_largest_logits")
LISTENING = ("audio", "sync")  # modalities that a change of the sound can change

Case = tuple[LabelledClip, dict[str, Any]]


@dataclass(frozen=True)
class Judged:
    """Where the reports of one state of the weights lie, and the labelled clips they are of.

    `frozen`: those that `out` holds, of whatever weights, if it holds one state alone.
    """

    clips: Path
    out: Path
    frozen: bool = False

    def folder(self, name: str = DEV) -> Path:
        """Where the reports of a set lie, named by the weights that decide them.

        Raises:
            UsageError: no one state of the weights in a frozen folder.
        """
        if self.frozen:
            found = list(self.out.glob("reports-*"))
            if len(found) != 1:
                raise UsageError(f"{self.out} holds reports of {len(found)} states of the weights")
            return found[0]
        profile = load_profile(PROFILE)
        if name in SOUND_ONLY:
            return self.out / f"heard-{_hash(profile.without(silent_of(profile)).models)}"
        return self.out / f"reports-{_hash(profile.models)}"

    @property
    def profile(self) -> Profile:
        """The profile that the reports were made with."""
        return read_profile(self.folder() / "profile.json")

    def place(self, name: str) -> Path:
        """The folder of a set's clips."""
        return self.clips if name == DEV else self.out / "sets" / name

    def clips_of(self, name: str) -> list[LabelledClip]:
        """The clips of a set, with or without reports; none where it was not made."""
        there = name == DEV or (self.place(name) / MANIFEST).is_file()
        return labelled_clips(self.place(name)) if there else []

    def cases(self, name: str) -> list[Case]:
        """Clips of a set with their reports, as JSON objects; those without one are left out."""
        path = self.folder(name) / f"{name}.jsonl"
        if not path.is_file():
            return []
        reports = {}
        for text in path.read_text(encoding="utf-8").splitlines():
            line = json.loads(text)
            if line["report"]:
                reports[line["path"]] = line["report"]
        found = [
            (clip, reports[str(clip.path)])
            for clip in labelled_clips(self.place(name))
            if str(clip.path) in reports
        ]
        if name not in SOUND_ONLY:
            return found
        untouched = {clip.path.stem: report for clip, report in self.cases(DEV)}
        return [
            (clip, _with_pictures_of(untouched[clip.subgroups[MADE_OF]], report))
            for clip, report in found
            if clip.subgroups[MADE_OF] in untouched
        ]


def silent_of(profile: Profile) -> list[str]:
    """Detectors that a change of the sound can't change."""
    return [one.name for one in profile.detectors if one.modality not in LISTENING]


def _hash(models: Iterable[str]) -> str:
    names = sorted({*SUBJECT_MODELS, *models})
    cards = [model_card(name) for name in names]
    lines = []
    for one in cards:
        decides = {key: x for key, x in one.parameters.items() if key not in TOLD_ONLY}
        lines.append(f"{one.name}:{one.sha256}:{decides}")
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


def _with_pictures_of(untouched: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """What was heard in a copy beside what was seen in the clip that it was made of."""
    heard = [one for one in report["detectors"] if one["modality"] in LISTENING]
    seen = [one for one in untouched["detectors"] if one["modality"] not in LISTENING]
    return {**untouched, "detectors": [*seen, *heard]}


def judge(judged: Judged, wanted: Sequence[str]) -> None:
    """Analyse sets by name, `dev` for the labelled clips; go on where an earlier run stopped.

    Raises:
        UsageError: the profile has changed since the first of these reports was made.
    """
    profile = load_profile(PROFILE)
    for name in wanted:
        folder = judged.folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        snapshot = folder / "profile.json"
        if not snapshot.is_file():
            snapshot.write_bytes((profiles_dir() / f"{PROFILE}.json").read_bytes())
        results = folder / f"{name}.jsonl"
        with ResultsFile(results) as lines:
            done = {key.path for key, error in lines.done.items() if error is None}
            files = [clip.path for clip in labelled_clips(judged.place(name))]
            waiting = [path for path in files if str(path) not in done]
            if waiting and read_profile(snapshot).config_sha256 != profile.config_sha256:
                raise UsageError(f"the profile has changed since {snapshot}; remove {folder}")
            off = tuple(silent_of(profile)) if name in SOUND_ONLY else ()
            run_batch(
                waiting,
                lambda path, off=off: analyze(path, profile=PROFILE, without=off),  # type: ignore[misc]
                Settings(PROFILE, without=off),
                results=lines,
            )
        print(f"{name}: {len(files)} files, {len(waiting)} of them now", flush=True)
