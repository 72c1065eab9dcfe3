"""Layouts of data sets whose fakes are pictures: FaceForensics++, Celeb-DF v2, DFDC, plain folders.

The trees and lists are those that the data sets' own pages describe:
FaceForensics++ github.com/ondyari/FaceForensics (dataset/README.md, dataset/splits/*.json);
Celeb-DF v2 github.com/yuezunli/celeb-deepfakeforensics (Celeb-DF-v2/README.md);
DFDC kaggle.com/c/deepfake-detection-challenge/data (metadata.json of each part).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from aura.errors import InputError, InputNotFound, UsageError
from aura.training.data.listing import (
    CONTRADICTION,
    MISSING,
    UNLISTED,
    Listing,
    Options,
    field_of,
    read_json,
    videos_below,
)
from aura.training.data.manifest import SPLITS, Row

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FFPP = "FaceForensics++"
FFPP_METHODS = (
    *("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "FaceShifter"),
    "DeepFakeDetection",
)
FFPP_COMPRESSIONS = ("raw", "c0", "c23", "c40")  # raw is called c0 in older downloads
FFPP_LICENCE = "FaceForensics++ terms of use (research)"
# 035 (an original) or 035_036 (target_source); 01_02__scene__HASH and 01__scene for paid actors.
YOUTUBE_CLIP = re.compile(r"(\d{3})(?:_(\d{3}))?")
ACTOR_CLIP = re.compile(r"(\d{2})(?:_(\d{2}))?__(\w+?)(?:__[A-Z0-9]{8})?")

CELEB_LIST = "List_of_testing_videos.txt"
CELEB_FOLDERS = {"Celeb-real": "real", "YouTube-real": "real", "Celeb-synthesis": "fake"}
CELEB_LIST_LABELS = {"1": "real", "0": "fake"}  # the other way round from ours
CELEB_CLIP = re.compile(r"(id\d+)(?:_(id\d+))?_(\d+)")


def faceforensics(root: Path, options: Options) -> Listing:
    """FaceForensics++ and the actors' videos that it distributes (DeepFakeDetection).

    A manipulated clip AAA_BBB shows the footage of AAA with the face (or the expressions) of BBB,
    so both are its identities. The official splits are lists of such pairs, which keeps every
    identity on one side; a pair is one group. The actors' videos have no official split.
    """
    if options.compression not in {None, *FFPP_COMPRESSIONS}:
        raise UsageError(
            f"--compression {options.compression}: choose one of {', '.join(FFPP_COMPRESSIONS)}"
        )
    listing = Listing(root)
    pairs = _official_pairs(root, options.splits)
    folders = sorted(root.glob("original_sequences/*/*/videos"))
    folders += sorted(root.glob("manipulated_sequences/*/*/videos"))
    for folder in folders:
        kind, name, compression, _ = folder.relative_to(root).parts
        if compression not in FFPP_COMPRESSIONS or options.compression not in {None, compression}:
            continue
        where = folder.relative_to(root).as_posix()
        if kind == "manipulated_sequences" and name not in FFPP_METHODS:
            for path in videos_below(root, where):
                listing.drop(path, UNLISTED, f"method {name} is not known")
            continue
        method = name if kind == "manipulated_sequences" else ""
        present = list(videos_below(root, where))
        for path in present:
            _ffpp_clip(listing, path, method, compression, pairs)
        if present and name not in {"actors", "DeepFakeDetection"}:
            _ffpp_missing(listing, where, pairs, present, originals=not method)
    if not folders:
        raise InputNotFound(
            f"{root} holds no original_sequences/*/*/videos and no manipulated_sequences/*/*/"
            "videos; name the folder that FaceForensics++'s download script wrote"
        )
    return listing


def _official_pairs(root: Path, splits: Path | None) -> dict[str, tuple[str, str]]:
    """Each original's split and its pair ("035-036")."""
    folder = splits or root / "splits"
    numbered = (root / "original_sequences" / "youtube").is_dir() or _has_numbered_fakes(root)
    if not splits and not numbered:
        return {}  # only the actors' videos, which have no official split
    pairs: dict[str, tuple[str, str]] = {}
    for split in SPLITS:
        path = folder / f"{split}.json"
        if not path.is_file():
            raise InputNotFound(
                f"{path} is missing: copy dataset/splits of github.com/ondyari/FaceForensics "
                f"into {root}, or name its folder with --splits"
            )
        listed = read_json(path)
        for pair in listed if isinstance(listed, list) else [listed]:
            if not isinstance(pair, list) or len(pair) != 2:
                raise InputError(f"{path} is no list of pairs such as [['035', '036'], ...]")
            for one in pair:
                if one in pairs:
                    raise InputError(f"{path}: {one} is in two pairs; take the official splits")
                pairs[one] = (split, "-".join(sorted(pair)))
    return pairs


def _has_numbered_fakes(root: Path) -> bool:
    present = {path.name for path in root.glob("manipulated_sequences/*")}
    return bool(present & set(FFPP_METHODS) - {"DeepFakeDetection"})


def _ffpp_clip(
    listing: Listing,
    path: str,
    method: str,
    compression: str,
    pairs: Mapping[str, tuple[str, str]],
) -> None:
    stem = PurePosixPath(path).stem
    youtube, actor = YOUTUBE_CLIP.fullmatch(stem), ACTOR_CLIP.fullmatch(stem)
    split, group = "", ""
    if youtube and youtube[1] in pairs:
        people = [f"ffpp-{one}" for one in youtube.groups() if one]
        split, pair = pairs[youtube[1]]
        group = f"ffpp-{pair}"
        if youtube[2] and pairs.get(youtube[2]) != pairs[youtube[1]]:
            listing.drop(path, UNLISTED, "its two people are no official pair")
            return
    elif actor:
        people = [f"dfd-{one}" for one in actor.groups()[:2] if one]
        group = f"dfd-{actor[1]}-{actor[3]}"
    else:
        listing.drop(path, UNLISTED, "not in train.json, val.json or test.json")
        return
    label = "fake" if method else "real"
    listing.add(
        Row(
            path,
            label,
            visual_label=label,
            method=method,
            identity=";".join(people),
            source=FFPP,
            split=split,
            licence=FFPP_LICENCE,
            group=group,
            extra={"compression": "raw" if compression == "c0" else compression},
        )
    )


def _ffpp_missing(
    listing: Listing,
    folder: str,
    pairs: Mapping[str, tuple[str, str]],
    present: list[str],
    *,
    originals: bool,
) -> None:
    """Note what the splits promise and this folder lacks."""
    have = {PurePosixPath(path).stem for path in present}
    for one, (_, pair) in sorted(pairs.items()):
        other = next(name for name in pair.split("-") if name != one)
        stem = one if originals else f"{one}_{other}"
        if stem not in have:
            listing.drop(f"{folder}/{stem}.mp4", MISSING)


def celeb_df(root: Path, _options: Options) -> Listing:
    """Celeb-DF v2: the official test list is `test`, all the rest `train`.

    In the list 1 means real, the other way round from ours; a line that contradicts its folder is
    dropped. The same celebrities are on both sides of the official split: an audit says so.
    """
    listing = Listing(root)
    tested = _celeb_test_list(root, listing)
    for folder, label in CELEB_FOLDERS.items():
        for path in videos_below(root, folder):
            stem = PurePosixPath(path).stem
            clip = CELEB_CLIP.fullmatch(stem)
            if clip:
                people = [f"celebdf-{one}" for one in clip.groups()[:2] if one]
                group = f"celebdf-{clip[1]}-{clip[3]}"  # the target's take, real or swapped
            else:
                people, group = [f"celebdf-youtube-{stem}"], f"celebdf-youtube-{stem}"
            if tested.get(path, label) != label:
                listing.drop(path, CONTRADICTION, f"{CELEB_LIST} says {tested[path]}")
                continue
            listing.add(
                Row(
                    path,
                    label,
                    visual_label=label,
                    method="Celeb-DF synthesis" if label == "fake" else "",
                    identity=";".join(people),
                    source="Celeb-DF v2",
                    split="test" if path in tested else "train",
                    licence="Celeb-DF terms of use (research)",
                    group=group,
                )
            )
    for path in tested.keys() - listing.rows.keys() - {one.path for one in listing.dropped}:
        listing.drop(path, MISSING)
    return listing


def _celeb_test_list(root: Path, listing: Listing) -> dict[str, str]:
    path = root / CELEB_LIST
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputNotFound(f"{path} can't be read ({error.strerror}); it is the split") from None
    tested: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, _, name = line.strip().partition(" ")
        if label not in CELEB_LIST_LABELS or not name.strip():
            raise InputError(f"{path}, line {number}: {line!r} is not '1 folder/name.mp4'")
        if name.strip() in tested:
            listing.drop(name.strip(), "listed twice", f"line {number}")
        tested[name.strip()] = CELEB_LIST_LABELS[label]
    return tested


def dfdc(root: Path, _options: Options) -> Listing:
    """DFDC: a metadata.json in each part's folder.

    It does not say whether picture or sound was changed, nor who is seen; clips that go back to
    one original are one group. `part` is kept: the organisers put each actor into few parts.
    """
    listing = Listing(root)
    lists = sorted(root.rglob("metadata.json"))
    if not lists:
        raise InputNotFound(f"{root} and its subfolders hold no metadata.json of DFDC")
    for path in lists:
        folder = path.parent.relative_to(root)
        for name, entry in _entries_of(read_json(path), path):
            label = str(field_of(entry, "label", f"{path}: {name}")).lower()
            if label not in {"real", "fake"}:
                raise InputError(f"{path}: {name} has label {label!r}, not REAL or FAKE")
            split = {"validation": "val"}.get(str(entry.get("split")), str(entry.get("split")))
            original = PurePosixPath(str(entry.get("original") or name)).stem
            listing.add(
                Row(
                    (folder / name).as_posix(),
                    label,
                    visual_label="real" if label == "real" else "",
                    audio_label="real" if label == "real" else "",
                    method="DFDC" if label == "fake" else "",
                    source="DFDC",
                    split=split if split in SPLITS else "",
                    licence="DFDC terms of the challenge",
                    group=f"dfdc-{original}",
                    extra={"part": path.parent.name},
                )
            )
        listing.drop_unlisted(videos_below(root, folder))
    return listing


def _entries_of(found: object, path: Path) -> list[tuple[str, dict[str, object]]]:
    """The entries of a JSON object of objects."""
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise InputError(f"{path} is no JSON object of files; is it DFDC's own metadata.json?")
    return list(found.items())


def folders(root: Path, options: Options) -> Listing:
    """`real/` and `fake/`, or both below train/, val/, test/; folders in `fake` name methods."""
    listing = Listing(root)
    splits = [split for split in ("train", "val", "dev", "test") if (root / split).is_dir()]
    for split in splits or [""]:
        for label in ("real", "fake"):
            where = PurePosixPath(split) / label
            for path in videos_below(root, where):
                inner = PurePosixPath(path).relative_to(where).parts[:-1]
                named = "/".join(inner) or "fake"
                listing.add(
                    Row(
                        path,
                        label,
                        method=named if label == "fake" else "",
                        source=options.source or root.resolve().name,
                        split="val" if split == "dev" else split,
                        licence=options.licence,
                    )
                )
    listing.drop_unlisted(videos_below(root))
    return listing
