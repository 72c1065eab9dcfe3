"""Clips with known answers in a folder.

Labels come from a `manifest.csv` in the folder or above it (columns `path` and `label`; `method`,
`group`, `source_repo` and the other columns of `training/data/manifest.py` when there), or from
subfolders named `real` and `fake`.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aura.errors import InputError, InputNotFound
from aura.media_files import VIDEO_SUFFIXES

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST = "manifest.csv"
MANIFEST_LEVELS = 4  # how far above the folder a manifest is looked for

LABELS = {"real": 0, "fake": 1}
# Columns that name or describe one clip, or have a field of their own.
NO_SUBGROUP = frozenset(
    {"path", "label", "visual_label", "audio_label", "method", "identity", "identity_or_speaker"}
    | {"source", "source_repo", "split", "licence", "sha256", "duration", "duration_s", "segments"}
    | {"group"}
)

# How a fake was made, by words in its method's name; the first that fits counts.
FAMILIES = (
    ("lip sync", r"wav2lip|lip.?sync|latentsync|retalk|ip_?lap|musetalk|diff2lip|lip.?gan"),
    (
        "driven or generated portrait",
        r"anitalker|portrait|sadtalker|fomm|first.order|tpsmm|thin.plate|\bemo\b|styleheat|edtalk"
        r"|hallo|echomimic|face2face|neural.?textures|reenact|re-enact|driven|vid2vid|dagan"
        r"|makeittalk|stylegan|avatar|puppet|talking|dreamtalk|v-express|motion",
    ),
    (
        "face swap",
        r"swap|ghost|dfdc|deepfakes?\b|faceshifter|deepfacelab|\bdfl\b|roop|inswapper|celeb-?df"
        r"|facedancer|deeperforensics|hififace|fsgan|megafs|face.?adapter|blend",
    ),
)


@dataclass(frozen=True)
class LabelledClip:
    """A clip with its known answer: `label` 1 = fake, 0 = real.

    `visual` and `audio` are the answers for picture and sound alone, None where unknown.
    `segments` are the manipulated stretches (modality, start, end), None where nobody says.
    `subgroups` holds the manifest's further columns.
    """

    path: Path
    label: int
    method: str
    group: str
    source: str
    visual: int | None = None
    audio: int | None = None
    identity: str = ""
    split: str = ""
    sha256: str = ""
    segments: tuple[tuple[str, float, float], ...] | None = None
    subgroups: Mapping[str, str] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Kind of manipulation, see `family_of`."""
        return family_of(self.label, self.method)


def family_of(label: int, method: str) -> str:
    """Kind of manipulation, `other` when the method's name tells nothing; real for real.

    >>> family_of(1, "Wav2Lip"), family_of(0, "none")
    ('lip sync', 'real')
    """
    if label == 0:
        return "real"
    for name, pattern in FAMILIES:
        if re.search(pattern, method, re.IGNORECASE):
            return name
    return "other"


def labelled_clips(folder: Path) -> list[LabelledClip]:
    """All clips below a folder whose answer is known.

    Raises:
        InputNotFound: no such folder, no labels, or no clip below it.
        InputError: segments in the manifest that can't be read.
    """
    folder = _as_named(folder)
    if not folder.is_dir():
        raise InputNotFound(f"{folder} is not a folder; name one that holds labelled clips")
    for level in (folder, *folder.parents[:MANIFEST_LEVELS]):
        if (level / MANIFEST).is_file():
            clips = _from_manifest(level / MANIFEST, folder)
            if clips:
                return clips
    clips = _from_subfolders(folder)
    if not clips:
        raise InputNotFound(
            f"no labels for {folder}: put a {MANIFEST} with the columns path and label there, "
            "or sort the clips into subfolders named real and fake"
        )
    return clips


def _from_manifest(manifest: Path, folder: Path) -> list[LabelledClip]:
    clips = []
    with manifest.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            path = _as_named(manifest.parent / (row.get("path") or ""))
            label = (row.get("label") or "").strip().lower()
            known = label in LABELS and path.suffix.lower() in VIDEO_SUFFIXES
            if known and path.is_relative_to(folder) and path.is_file():
                clips.append(_clip(path, label, row, f"{manifest}, {row.get('path')}"))
    return sorted(clips, key=lambda clip: clip.path)


def _clip(path: Path, label: str, row: Mapping[str, str | None], place: str) -> LabelledClip:
    identity = row.get("identity") or row.get("identity_or_speaker") or ""
    name = row.get("group") or identity or path.stem
    return LabelledClip(
        path,
        LABELS[label],
        row.get("method") or label,
        name,
        row.get("source_repo") or row.get("source") or name,
        visual=LABELS.get((row.get("visual_label") or "").strip().lower()),
        audio=LABELS.get((row.get("audio_label") or "").strip().lower()),
        identity=identity,
        split=row.get("split") or "",
        sha256=row.get("sha256") or "",
        segments=_segments(row.get("segments") or "", place),
        subgroups={
            name: value for name, value in row.items() if name and value and name not in NO_SUBGROUP
        },
    )


def _segments(text: str, place: str) -> tuple[tuple[str, float, float], ...] | None:
    if not text.strip():
        return None
    try:
        found = tuple((str(m), float(start), float(end)) for m, start, end in json.loads(text))
    except (ValueError, TypeError):
        found = (("", math.nan, math.nan),)
    if not all(0 <= start < end < math.inf for _, start, end in found):
        raise InputError(f"{place}: segments {text!r} is no JSON list of [modality, start, end]")
    return found


def _as_named(path: Path) -> Path:
    """Absolute, without `..`, links kept: data may be linked beside its manifest."""
    return Path(os.path.abspath(path))  # noqa: PTH100


def _from_subfolders(folder: Path) -> list[LabelledClip]:
    clips = []
    for label, name in ((0, "real"), (1, "fake")):
        for path in sorted((folder / name).rglob("*")):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                method = path.parent.name if path.parent != folder / name else name
                clips.append(LabelledClip(path, label, method, path.stem, method))
    return clips
