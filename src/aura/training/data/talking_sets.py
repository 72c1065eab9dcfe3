"""Layouts of audio-visual data sets: FakeAVCeleb, LAV-DF and AV-Deepfake1M.

All three are made from VoxCeleb2, and two of them keep its people's ids: `vox2-id00076` is the same
person in both, so an audit finds people who are trained on in one and tested on in the other.

The trees and lists are those of FakeAVCeleb v1.2 (github.com/DASH-Lab/FakeAVCeleb; columns as in
its meta_data.csv), LAV-DF (github.com/ControlNet/LAV-DF, dataset/lavdf.py) and AV-Deepfake1M
(github.com/ControlNet/AV-Deepfake1M, python/avdeepfake1m/loader.py).
"""

from __future__ import annotations

import csv
import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from aura.errors import InputError, InputNotFound
from aura.training.data.listing import (
    UNLABELLED,
    Listing,
    Options,
    field_of,
    read_json,
    videos_below,
)
from aura.training.data.manifest import Row, Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

FAV_LIST = "meta_data.csv"
# Folder name: label of the picture, label of the sound.
FAV_TYPES = {
    "RealVideo-RealAudio": ("real", "real"),
    "RealVideo-FakeAudio": ("real", "fake"),
    "FakeVideo-RealAudio": ("fake", "real"),
    "FakeVideo-FakeAudio": ("fake", "fake"),
}
PERSON = re.compile(r"id\d{5}")
LAV_SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test"}
LAV_LICENCE = "CC BY-NC 4.0 and the data set's terms"
# What AV-Deepfake1M's modify_type says about picture and sound.
AVD_TYPES = {
    "real": ("real", "real"),
    "audio_modified": ("real", "fake"),
    "visual_modified": ("fake", "real"),
    "both_modified": ("fake", "fake"),
}


def fake_av_celeb(root: Path, _options: Options) -> Listing:
    """FakeAVCeleb v1.2: four types of clips, listed in meta_data.csv; no official split.

    The list names some files twice with different methods; the first one counts. Race and gender
    are kept as `race` and `gender`, for figures by subgroup.
    """
    listing = Listing(root)
    for line, cells in _fav_rows(root / FAV_LIST):
        kind = cells["type"]
        if kind not in FAV_TYPES:
            raise InputError(f"{root / FAV_LIST}, line {line}: type {kind!r} is not known")
        visual, audio = FAV_TYPES[kind]
        label = "fake" if "fake" in {visual, audio} else "real"
        people = [cells["source"], *(one for one in (cells["target1"],) if PERSON.fullmatch(one))]
        take = PurePosixPath(cells["path"]).stem.split("_")[0]
        listing.add(
            Row(
                _fav_path(cells),
                label,
                visual_label=visual,
                audio_label=audio,
                method=cells["method"] if label == "fake" else "",
                identity=";".join(f"vox2-{one}" for one in dict.fromkeys(people)),
                source="FakeAVCeleb",
                licence="FakeAVCeleb terms (on request)",
                group=f"favc-{cells['source']}-{take}",
                extra={"race": cells["race"], "gender": cells["gender"]},
            )
        )
    for kind in FAV_TYPES:
        listing.drop_unlisted(videos_below(root, kind))
    return listing


def _fav_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells; the last column, whose header is empty, is the folder."""
    needed = ("source", "target1", "method", "type", "race", "gender", "path")
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, restkey="", restval="")
            missing = set(needed) - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path}, line 1: there is no column {', '.join(sorted(missing))}")
            for raw in reader:
                rest: Any = raw.get("", "")
                folder = rest[0] if isinstance(rest, list) else rest
                cells = {name: (raw[name] or "").strip() for name in needed}
                yield reader.line_num, {**cells, "folder": (folder or "").strip()}
    except OSError as error:
        raise InputNotFound(f"{path} can't be read ({error.strerror})") from None


def _fav_path(cells: Mapping[str, str]) -> str:
    """`type/race/gender/person/name`: the folder cell from the type on, or built from the cells."""
    parts = PurePosixPath(cells["folder"]).parts
    if cells["type"] in parts:
        folder = PurePosixPath(*parts[parts.index(cells["type"]) :])
    else:
        folder = PurePosixPath(cells["type"], cells["race"], cells["gender"], cells["source"])
    return (folder / cells["path"]).as_posix()


def lav_df(root: Path, _options: Options) -> Listing:
    """LAV-DF: metadata.json (or metadata.min.json) with `fake_periods` in seconds.

    Who speaks is not published; a fake and the clip that it was made from are one group.
    """
    listing = Listing(root)
    names = [name for name in ("metadata.json", "metadata.min.json") if (root / name).is_file()]
    if not names:
        raise InputNotFound(f"{root} holds no metadata.json and no metadata.min.json of LAV-DF")
    for entry, where in _entries(root / names[0]):
        file = str(field_of(entry, "file", where))
        visual = "fake" if field_of(entry, "modify_video", where) else "real"
        audio = "fake" if field_of(entry, "modify_audio", where) else "real"
        changed = [
            name for name, value in (("visual", visual), ("audio", audio)) if value == "fake"
        ]
        take = PurePosixPath(str(entry.get("original") or file)).stem
        periods = field_of(entry, "fake_periods", where)
        listing.add(
            Row(
                file,
                "fake" if changed else "real",
                visual_label=visual,
                audio_label=audio,
                method="LAV-DF " + " and ".join(changed) if changed else "",
                source="LAV-DF",
                split=_split(entry, where),
                licence=LAV_LICENCE,
                segments=tuple(one for name in changed for one in _segments(name, periods, where)),
                group=f"lavdf-{take}",
            )
        )
    for split in ("train", "dev", "test"):
        listing.drop_unlisted(videos_below(root, split))
    return listing


def av_deepfake1m(root: Path, _options: Options) -> Listing:
    """AV-Deepfake1M: train_metadata.json and val_metadata.json, or one JSON file a clip.

    The published lists give some clips of one changed modality stretches of the other as well;
    `modify_type` decides, and stretches of an unchanged modality are left out. Labels of the test
    clips are not published.
    """
    listing = Listing(root)
    for split in ("train", "val"):
        for entry, where in _avd_entries(root, split):
            _avd_clip(listing, entry, split, where)
        listing.drop_unlisted(videos_below(root, split))
    if not listing.rows and not listing.dropped:
        raise InputNotFound(
            f"{root} holds neither train_metadata.json nor train_metadata/ of AV-Deepfake1M"
        )
    for path in videos_below(root, "test"):
        listing.drop(path, UNLABELLED)
    return listing


def _avd_entries(root: Path, split: str) -> Iterator[tuple[dict[str, Any], str]]:
    whole = root / f"{split}_metadata.json"
    if whole.is_file():
        yield from _entries(whole)
        return
    for path in sorted((root / f"{split}_metadata").rglob("*.json")):
        yield read_json(path), str(path)


def _avd_clip(listing: Listing, entry: dict[str, Any], split: str, where: str) -> None:
    file = PurePosixPath(str(field_of(entry, "file", where)))
    kind = str(field_of(entry, "modify_type", where)).replace("-", "_")
    if kind not in AVD_TYPES:
        raise InputError(f"{where}: modify_type {kind!r} is not one of {', '.join(AVD_TYPES)}")
    visual, audio = AVD_TYPES[kind]
    segments: list[Segment] = []
    for name, label in (("visual", visual), ("audio", audio)):
        if label == "fake":
            found = entry.get(f"{name}_fake_segments") or entry.get("fake_segments") or ()
            segments += _segments(name, found, where)
    person = next((part for part in file.parts if PERSON.fullmatch(part)), None)
    models = [str(entry[name]) for name in ("video_model", "audio_model") if entry.get(name)]
    listing.add(
        Row(
            (PurePosixPath(split) / file).as_posix(),
            "fake" if kind != "real" else "real",
            visual_label=visual,
            audio_label=audio,
            method=" ".join(["AV-Deepfake1M", kind.replace("_", " "), *models])
            if kind != "real"
            else "",
            identity=f"vox2-{person}" if person else "",
            source="AV-Deepfake1M",
            split=split,
            licence=LAV_LICENCE,
            segments=tuple(segments),
            group=f"avd1m-{'-'.join(file.parent.parts)}",
        )
    )


def _entries(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """The entries of a JSON list, each with words that say where it is."""
    found = read_json(path)
    if not isinstance(found, list):
        raise InputError(f"{path} is no JSON list of clips; is it the data set's own file?")
    for number, entry in enumerate(found, start=1):
        yield entry, f"{path}, entry {number}"


def _split(entry: Mapping[str, Any], where: str) -> str:
    split = str(field_of(entry, "split", where))
    if split not in LAV_SPLITS:
        raise InputError(f"{where}: split {split!r} is not one of {', '.join(LAV_SPLITS)}")
    return LAV_SPLITS[split]


def _segments(modality: str, periods: Iterable[Any], where: str) -> list[Segment]:
    """Stretches of one modality; those without length are left out."""
    try:
        pairs = [(float(start), float(end)) for start, end in periods]
    except (TypeError, ValueError):
        raise InputError(f"{where}: {periods!r} is no list of [start, end] in seconds") from None
    return [Segment(modality, start, end) for start, end in pairs if 0 <= start < end]
