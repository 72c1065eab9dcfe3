"""Reports on all sets, kept: whatever is fitted or counted later reads them and runs no network.

Reports hang on weights and on the profile in force, which a fit changes: a copy of that profile is
kept beside them, so that raw logits can be had back from the windows' scores.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aura.batch import ResultsFile, Settings, run_batch
from aura.errors import UsageError
from aura.evaluation import LabelledClip, labelled_clips
from aura.pipeline import SUBJECT_MODELS, analyze
from aura.profiles import Profile, load_profile, profiles_dir, read_profile
from aura.runtime import model_card

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PROFILE = "lite"
DEV = "dev"  # the labelled clips themselves, unchanged

Case = tuple[LabelledClip, dict[str, Any]]


@dataclass(frozen=True)
class Judged:
    """Where the reports of one state of the weights lie, and the labelled clips they are of.

    `frozen`: those that `out` holds, of whatever weights, if it holds one state alone.
    """

    clips: Path
    out: Path
    frozen: bool = False

    @property
    def folder(self) -> Path:
        """Named by the weights.

        Raises:
            UsageError: no one state of the weights in a frozen folder.
        """
        if self.frozen:
            found = list(self.out.glob("reports-*"))
            if len(found) != 1:
                raise UsageError(f"{self.out} holds reports of {len(found)} states of the weights")
            return found[0]
        names = sorted({*SUBJECT_MODELS, *load_profile(PROFILE).models})
        lines = "\n".join(f"{name}:{model_card(name).sha256}" for name in names)
        return self.out / f"reports-{hashlib.sha256(lines.encode()).hexdigest()[:12]}"

    @property
    def profile(self) -> Profile:
        """The profile that the reports were made with."""
        return read_profile(self.folder / "profile.json")

    def place(self, name: str) -> Path:
        """The folder of a set's clips."""
        return self.clips if name == DEV else self.out / "sets" / name

    def cases(self, name: str) -> list[Case]:
        """Clips of a set with their reports, as JSON objects; those without one are left out."""
        path = self.folder / f"{name}.jsonl"
        if not path.is_file():
            return []
        lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        reports = {line["path"]: line["report"] for line in lines if line["report"]}
        clips = labelled_clips(self.place(name))
        return [(clip, reports[str(clip.path)]) for clip in clips if str(clip.path) in reports]


def judge(judged: Judged, wanted: Sequence[str]) -> None:
    """Analyse the labelled clips and the sets; go on where an earlier run stopped.

    Raises:
        UsageError: the profile has changed since the first of these reports was made.
    """
    folder = judged.folder
    folder.mkdir(parents=True, exist_ok=True)
    snapshot = folder / "profile.json"
    if not snapshot.is_file():
        snapshot.write_bytes((profiles_dir() / f"{PROFILE}.json").read_bytes())
    same = judged.profile.config_sha256 == load_profile(PROFILE).config_sha256
    for name in (DEV, *wanted):
        files = [clip.path for clip in labelled_clips(judged.place(name))]
        done = {clip.path for clip, _ in judged.cases(name)}
        waiting = [path for path in files if path not in done]
        if waiting and not same:
            raise UsageError(f"the profile has changed since {snapshot}; remove {folder}")
        if waiting:
            with ResultsFile(folder / f"{name}.jsonl") as results:
                run_batch(
                    waiting,
                    lambda path: analyze(path, profile=PROFILE),
                    Settings(PROFILE),
                    results=results,
                )
        print(f"{name}: {len(files)} files", flush=True)
