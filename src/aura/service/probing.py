"""Looks into an untrusted file before it is queued: in a process of its own, with limits.

A fork server with the decoder loaded is started once; each file gets a child of it, which may use
so much memory and time and is then ended. Whatever a file does to a decoder, it does it there.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aura.errors import AuraError, InputError, InputNotFound, NoVideo, UnreadableMedia
from aura.service.limits import limit_memory, limit_processor

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from aura.service.settings import Settings

KINDS = {error.kind: error for error in (InputError, InputNotFound, NoVideo, UnreadableMedia)}


class ClipTooLong(InputError):
    """The clip is longer than is allowed."""

    kind = "too_long"


@dataclass(frozen=True)
class Probed:
    """What a file says about itself; `duration` in seconds, None where it does not say.

    `kind` is video, image or audio; a picture lasts 0 seconds.
    """

    kind: str
    duration: float | None


_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["aura.service.probing", "aura.media"])


def start_prober() -> None:
    """Start the fork server, so that the first upload does not wait for it."""
    process = _context.Process(target=_nothing)
    process.start()
    process.join()


def probe_checked(path: Path, name: str, settings: Settings) -> Probed:
    """Probe a file in a child process.

    Args:
        path: the file.
        name: what its user calls it; errors name it so.
        settings: limits of the child, and the longest clip.

    Raises:
        InputError: nothing that can be decoded, too long, or more than the child may use.
    """
    ours, theirs = _context.Pipe(duplex=False)
    seconds, memory = settings.probe_seconds, settings.probe_memory
    process = _context.Process(
        target=_child, args=(theirs, str(path), memory, seconds), daemon=True
    )
    process.start()
    theirs.close()
    try:
        found = ours.recv() if ours.poll(seconds) else None
    except EOFError:
        found = None
    finally:
        ours.close()
        process.kill()
        process.join()
        process.close()
    if found is None:
        raise UnreadableMedia(
            f"{name} can't be looked into within {seconds:g} s and {memory // 2**20} MiB; "
            "re-export it with an ordinary encoder"
        )
    if isinstance(found, tuple):
        kind, message = found
        raise KINDS.get(kind, UnreadableMedia)(message.replace(str(path), name))
    probed: Probed = found
    return _short_enough(probed, name, settings)


def probe_here(path: Path, name: str, settings: Settings) -> Probed:
    """The same in this process, for workers, whose processes have limits of their own.

    Raises:
        InputError: nothing that can be decoded, or too long.
    """
    return _short_enough(_look(path), name, settings)


def _short_enough(probed: Probed, name: str, settings: Settings) -> Probed:
    if probed.duration is not None and probed.duration > settings.max_duration:
        raise ClipTooLong(
            f"{name} is {probed.duration:.0f} s long, and {settings.max_duration:g} s are allowed; "
            "cut it into parts"
        )
    return probed


def _look(path: Path) -> Probed:
    from aura import media  # noqa: PLC0415 - the API itself never decodes

    found = media.examine(path)
    return Probed(found.kind, 0.0 if found.kind == "image" else found.duration)


def _child(pipe: Connection[Any, Any], path: str, memory: int, seconds: float) -> None:
    """Body of the child."""
    limit_memory(memory)
    limit_processor(max(1, round(seconds)))
    with contextlib.suppress(OSError):
        try:
            pipe.send(_look(Path(path)))
        except AuraError as error:
            pipe.send((error.kind, str(error)))
        except MemoryError:
            pipe.send(("unreadable_media", f"{path} needs more memory than is allowed to look at"))


def _nothing() -> None:
    """For a child that only wakes the fork server."""
