"""Read a prepared data set: `open_prepared(folder)`, then `.rows`, `.split(name)`, `.load(index)`.

Nothing but the tables is read at first; a clip comes from its shard when it is asked for, and no
file stays open, so that the object can be used after a fork and sent to other processes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from aura.detectors.contract_input import Faces, Voice
from aura.errors import InputError, InputNotFound
from aura.training.data.clip import Clip, Truth, truth_of
from aura.training.data.manifest import Row, read_manifest, relative_path
from aura.training.data.shards import read_shard, read_times

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

PREPARED_FORMAT = 1  # the newest layout that this version reads
HEAD = "prepared.json"
CLIPS = "clips.csv"
# Columns that clips.csv has beyond the manifest's; a manifest may not use these names itself.
SHARD_COLUMNS = (
    *("shard", "shard_sha256", "shard_fps", "shard_start", "shard_end"),
    *("shard_frames", "shard_speech", "shard_people"),
)
DECIDING = (
    *("path", "label", "visual_label", "audio_label", "method", "identity", "source"),
    *("split", "group"),
)


@dataclass(frozen=True)
class Place:
    """Where a clip lies and what is in it: seconds, faces, seconds of speech, people in turn."""

    shard: str
    content: str
    fps: float
    start: float
    end: float
    frames: int
    speech: float
    people: int


class PreparedSet:
    """Clips that `aura data prepare` made, in the order of their paths.

    `rows` are their lines in the manifest, `places` what is known without opening them, `settings`
    how they were made, `manifest_sha256` which manifest they come from.
    """

    def __init__(
        self, folder: Path, head: dict[str, Any], rows: Sequence[Row], places: Sequence[Place]
    ) -> None:
        self.folder = folder
        self.settings: dict[str, Any] = head["settings"]
        self.manifest_sha256: str = head["manifest_sha256"]
        self.rows = list(rows)
        self.places = list(places)

    def __len__(self) -> int:
        return len(self.rows)

    def fps_of(self, index: int) -> float:
        """Pictures that were sampled a second from this clip."""
        return self.places[index].fps

    def span_of(self, index: int) -> tuple[float, float]:
        """The (start, end) in seconds that was prepared of this clip."""
        return self.places[index].start, self.places[index].end

    def times_of(self, index: int) -> NDArray[np.float64]:
        """When this clip's faces were seen, in seconds; none of them is decoded."""
        return read_times(self.folder, self.places[index].shard)

    def truth_of(self, index: int) -> Truth:
        """What is known of this clip, without opening it."""
        place = self.places[index]
        whole = (place.start, place.end)
        return truth_of(self.rows[index], whole, speech=place.speech > 0)

    def split(self, name: str) -> list[int]:
        """Indices of the clips of one split (`train`, `val`, `test`, or empty for none)."""
        return [index for index, row in enumerate(self.rows) if row.split == name]

    def load(self, index: int, span: tuple[float, float] | None = None) -> Clip:
        """One clip from its shard.

        Args:
            index: which one.
            span: (start, end) in seconds: only this stretch's faces are decoded, for windows of
                long clips; times stay those of the clip.

        Raises:
            InputError: the shard is missing or damaged.
        """
        place, row = self.places[index], self.rows[index]
        stored = read_shard(self.folder, place.shard, span)
        if stored.info.content != place.content:
            raise InputError(
                f"{self.folder / place.shard} is not the shard that {CLIPS} lists; run the same "
                "`aura data prepare` again"
            )
        whole = (place.start, place.end)
        return Clip(
            row=row,
            fps=place.fps,
            span=whole if span is None else (max(span[0], whole[0]), min(span[1], whole[1])),
            frame_ids=stored.frame_ids,
            faces=Faces(stored.times, stored.crops, stored.motion),
            landmarks=stored.landmarks,
            voice=Voice(stored.sound_start, stored.samples, stored.speech),
            truth=self.truth_of(index),
        )

    @property
    def data_hash(self) -> str:
        """SHA-256 over what decides training: settings, answers, splits, and what clips hold."""
        digest = hashlib.sha256(_text(self.settings))
        for row, place in zip(self.rows, self.places, strict=True):
            segments = [asdict(one) for one in row.segments]
            digest.update(_text([[getattr(row, name) for name in DECIDING], segments]))
            digest.update(place.content.encode())
        return digest.hexdigest()


def open_prepared(folder: Path) -> PreparedSet:
    """Open a folder that `aura data prepare` filled.

    Raises:
        InputNotFound: there is no prepared data set.
        InputError: preparation was not finished, a table or shard is missing or makes no sense, or
            a newer version wrote it.
    """
    head = read_head(folder)
    if head is None:
        raise InputNotFound(
            f"{folder} holds no prepared data set; make one with `aura data prepare MANIFEST "
            f"--out {folder}`"
        )
    if not head.get("complete"):
        raise InputError(
            f"{folder} was not prepared to the end; run the same `aura data prepare` again to go on"
        )
    rows, places = [], []
    for row in read_manifest(folder / CLIPS):
        places.append(_place(row, folder))
        kept = {name: text for name, text in row.extra.items() if name not in SHARD_COLUMNS}
        rows.append(replace(row, extra=kept))
    missing = [place.shard for place in places if not (folder / place.shard).is_file()]
    if missing:
        others = f" and {len(missing) - 1} more shards" if len(missing) > 1 else ""
        raise InputError(
            f"{folder / missing[0]}{others} missing; run the same `aura data prepare` again to "
            "restore what is gone"
        )
    return PreparedSet(folder, head, rows, places)


def read_head(folder: Path) -> dict[str, Any] | None:
    """The prepared.json of a folder, None where there is none.

    Raises:
        InputError: it makes no sense or was written by a newer version.
    """
    path = folder / HEAD
    if not path.is_file():
        return None
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
        version = int(head["format"])
        complete = bool(head["complete"])
        settings, sha256 = dict(head["settings"]), str(head["manifest_sha256"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"{path} can't be read ({error!r}); delete the folder and prepare again"
        ) from None
    if version > PREPARED_FORMAT:
        raise InputError(
            f"{path} has format {version}, this version reads up to {PREPARED_FORMAT}: upgrade "
            "aura-veracity"
        )
    return {**head, "complete": complete, "settings": settings, "manifest_sha256": sha256}


def _place(row: Row, folder: Path) -> Place:
    cells = row.extra
    try:
        return Place(
            shard=relative_path(cells["shard"]),
            content=cells["shard_sha256"],
            fps=float(cells["shard_fps"]),
            start=float(cells["shard_start"]),
            end=float(cells["shard_end"]),
            frames=int(cells["shard_frames"]),
            speech=float(cells["shard_speech"]),
            people=int(cells["shard_people"]),
        )
    except (KeyError, ValueError) as error:
        raise InputError(
            f"{folder / CLIPS}: the row of {row.path} makes no sense ({error!r}); run the same "
            "`aura data prepare` again"
        ) from None


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
