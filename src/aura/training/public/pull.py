"""Pulling one public checkpoint: agreed to, found, downloaded, pinned, converted, put in use."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aura import registry
from aura.errors import UsageError, WeightsError
from aura.hub.fetch import COMMIT, NotThere, Place, download, find_commit, hub_address
from aura.hub.pins import REPO, REVISION, Pin, read_pins, write_pin
from aura.runtime import read_card, sha256_file, verify_card
from aura.training.public.convert import convert, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from aura.hub.catalogue import Source

    Hook = Callable[[str, float, float | None], None]

MAIN = "main"  # what a repository shows when no revision is named


@dataclass(frozen=True)
class Wish:
    """How to pull: options of the command line.

    `repo` and `revision` instead of the catalogue's, `sums` SHA-256 by file that a person knows,
    `folder` with files that are on this machine already, `offline` without any network, `agree`
    asks a person whether they accept a licence.
    """

    agree: Callable[[Source], bool]
    mirror: str | None = None
    repo: str | None = None
    revision: str | None = None
    sums: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    offline: bool = False
    keep: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)
    fake_label: str | None = None


def downloads_dir() -> Path:
    """Where files wait to be converted, by checkpoint and commit."""
    return registry.home() / "downloads"


def pull_one(source: Source, wish: Wish, hook: Hook | None) -> str:
    """Bring one checkpoint and put it in use; what is there already is not brought again.

    Args:
        source: from the catalogue. wish: how. hook: told of `download` in bytes, `convert`.

    Returns:
        The version in use.

    Raises:
        UsageError: the licence was not accepted, or an option makes no sense.
        WeightsError: not to be had, other bytes than pinned or stated, or no network of its layout.
    """
    hook = hook or _unheard
    before = read_pins().get(source.name)
    repo = wish.repo or (before.repo if before else None) or source.repo
    if wish.folder is not None:
        repo = wish.repo or f"local/{_plain(wish.folder.resolve().name)}"
    if repo is None:
        raise UsageError(
            f"{source.name}: no public checkpoint of it can be recommended; name a fine-tuned one "
            "with --repo OWNER/NAME, or one of your own with --from FOLDER"
        )
    if not REPO.fullmatch(repo):
        raise UsageError(f"--repo {repo}: give OWNER/NAME, as on the hub")
    same = before is not None and before.repo == repo and wish.revision is None
    if before is not None and same and wish.folder is None and _in_use(source, before):
        return version_of(before)
    if not (same and before and before.licence == source.licence) and not wish.agree(source):
        raise UsageError(
            f"the licence of {source.name} was not accepted; nothing was downloaded. "
            "--accept-licence says yes"
        )
    accepted = (
        before.accepted if same and before else datetime.now(UTC).isoformat(timespec="seconds")
    )
    if wish.folder is not None:
        folder, files = wish.folder, _sums_of(source, wish.folder)
        commit = hashlib.sha256("".join(sorted(files.values())).encode()).hexdigest()[:40]
    else:
        commit = _commit(source, repo, wish, before if same else None)
        folder = downloads_dir() / source.name / commit
        files = _bring(source, repo, commit, folder, wish, hook)
    pinned = before.files if before and same and before.revision == commit else {}
    _check(source, folder, files, {**pinned, **_stated(source, wish.sums)}, ours=not wish.folder)
    pin = Pin(repo, commit, files, source.licence, accepted)
    hook("convert", 0.0, None)
    version = version_of(pin)
    if not _usable(source, version):
        shutil.rmtree(registry.version_dir(source.name, version), ignore_errors=True)  # damaged
        convert(source, folder, pin, wish.settings, wish.fake_label)
    write_pin(source.name, Pin(repo, commit, files, source.licence, accepted, version))
    if wish.folder is None and not (wish.keep or wish.offline):  # offline it can't come again
        shutil.rmtree(downloads_dir() / source.name, ignore_errors=True)
    return version


def _unheard(stage: str, completed: float, total: float | None) -> None:
    del stage, completed, total


def _plain(name: str) -> str:
    kept = "".join(
        one if one.isascii() and (one.isalnum() or one in "._-") else "-" for one in name
    )
    return (kept.strip(".-_") or "folder")[:64]


def _in_use(source: Source, pin: Pin) -> bool:
    version = version_of(pin)
    return registry.in_use(source.name) == version and _usable(source, version)


def _usable(source: Source, version: str) -> bool:
    """Whether a version is there and unaltered."""
    folder = registry.version_dir(source.name, version)
    if not (folder / registry.CARD).is_file():
        return False
    return verify_card(read_card(folder / registry.CARD), folder) is None


def _commit(source: Source, repo: str, wish: Wish, pin: Pin | None) -> str:
    if pin is not None:
        return pin.revision
    revision = wish.revision or MAIN
    if not REVISION.fullmatch(revision):
        raise UsageError(f"--revision {revision}: give a commit, or a branch's or tag's name")
    if COMMIT.fullmatch(revision):
        return revision
    if wish.offline:
        raise WeightsError(
            f"{source.name} was never pulled here, and offline nobody can be asked for it; pull it "
            "where there is a network, or give its files with --from FOLDER"
        )
    return find_commit(hub_address(wish.mirror), repo, revision)


def _bring(  # noqa: PLR0917
    source: Source, repo: str, commit: str, folder: Path, wish: Wish, hook: Hook
) -> dict[str, str]:
    """All files of a checkpoint in its folder; SHA-256 by name."""
    found: dict[str, str] = {}
    for wanted in source.files:
        names = wanted.rstrip("?").split("|")
        for name in names:
            target = folder / name
            if target.is_file():
                found[name] = sha256_file(target)
                break
            if wish.offline:
                continue
            hook("download", 0.0, None)
            try:
                found[name] = download(
                    Place(hub_address(wish.mirror), repo, commit),
                    name,
                    target,
                    lambda done, total: hook("download", done, total),
                )
                break
            except NotThere:
                if name == names[-1] and not wanted.endswith("?"):
                    raise
        else:
            if not wanted.endswith("?"):
                raise WeightsError(
                    f"{source.name}: {' or '.join(names)} is not in {folder}, and offline nothing "
                    "is downloaded; run it again where there is a network"
                )
    return found


def _sums_of(source: Source, folder: Path) -> dict[str, str]:
    """The files of a checkpoint in a person's folder; SHA-256 by name."""
    found: dict[str, str] = {}
    for wanted in source.files:
        names = wanted.rstrip("?").split("|")
        there = [name for name in names if (folder / name).is_file()]
        if there:
            found[there[0]] = sha256_file(folder / there[0])
        elif not wanted.endswith("?"):
            raise WeightsError(
                f"{folder} has no {' and no '.join(names)}; give a checkpoint's folder"
            )
    return found


def _stated(source: Source, sums: Mapping[str, str]) -> dict[str, str]:
    """What a person knows about this checkpoint's files."""
    begins = f"{source.name}/"
    return {
        key.removeprefix(begins): value for key, value in sums.items() if key.startswith(begins)
    }


def _check(
    source: Source, folder: Path, files: dict[str, str], expected: dict[str, str], *, ours: bool
) -> None:
    for name, sha256 in expected.items():
        if name not in files:
            raise WeightsError(f"{source.name} has no file {name}, whose SHA-256 was given")
        if files[name] != sha256:
            if ours:
                (folder / name).unlink(missing_ok=True)
            raise WeightsError(
                f"{source.name}: {name} has SHA-256 {files[name][:16]}..., not the "
                f"{sha256[:16]}... that it must have; it was not used"
                f"{' and deleted' if ours else ''}"
            )
