"""The examiner's report of a job, printed when somebody first asks for it, and then kept.

`python -m aura.service.printing FOLDER NAME KEY_ID` prints in a process of its own: laying pages
out takes seconds of a processor, which the API's other answers would wait for.
"""

from __future__ import annotations

import contextlib
import ctypes.util
import functools
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from aura.service import artifacts
from aura.service.limits import limit_memory
from aura.service.logs import get_logger
from aura.service.reports import written
from aura.service.store import new_id

if TYPE_CHECKING:
    from aura.service.artifacts import Artifact
    from aura.service.context import Service
    from aura.service.jobs import Job

log = get_logger("api")

PRINT_SECONDS = 60.0
PRINT_MEMORY = 2048 * 2**20
PICTURES = frozenset({"frame", "saliency", "spectrogram"})  # what a page shows
OWN_KEY = "this service"  # as the page calls it


class NotPrinted(Exception):
    """The page could not be made; the log says why."""


@functools.cache
def can_print(name: str) -> bool:
    """Whether what prints this is installed: a package for pages, and Pango for PDF."""
    if importlib.util.find_spec("jinja2") is None:
        return False
    if name == artifacts.PAGE:
        return True
    pango = ctypes.util.find_library("pango-1.0") is not None
    return pango and importlib.util.find_spec("weasyprint") is not None


def printed(service: Service, job: Job, name: str) -> Artifact | None:
    """Print the report of a completed job; None: it was erased meanwhile.

    Raises:
        NotPrinted: it did not work.
    """
    report = service.store.report(job.id)
    if report is None:
        return None
    with tempfile.TemporaryDirectory(prefix="print-", dir=service.scratch.path) as place:
        folder = Path(place)
        (folder / artifacts.REPORT).write_text(written(report), encoding="utf-8")
        for one in artifacts.stored(service.engine, job.id):
            if one.kind in PICTURES:
                parts = service.storage.read(one.key, 0, one.size_bytes)
                (folder / one.name).write_bytes(b"".join(parts))
        _run(folder, name, service.signer.key_id)
        made = folder / name
        key = f"{artifacts.FOLDER}/{job.id}-{new_id()[:8]}/{name}"
        found = artifacts.described(name, made.stat().st_size, key)
        service.storage.put(key, made)
    if service.store.attach(job.id, found):
        return found
    service.storage.delete(key)  # somebody else was quicker, or the job is gone
    others = artifacts.stored(service.engine, job.id)
    return next((one for one in others if one.name == name), None)


def _run(folder: Path, name: str, key_id: str) -> None:
    command = [sys.executable, "-m", "aura.service.printing", str(folder), name, key_id]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            command, check=False, capture_output=True, text=True, timeout=PRINT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotPrinted(f"not done within {PRINT_SECONDS:g} s") from None
    if done.returncode != 0:
        log.error("not_printed", name=name, code=done.returncode, said=done.stderr[-1000:])
        raise NotPrinted("the server could not print it")


def main() -> None:
    """Body of the process."""
    from aura.examiner.page import page  # noqa: PLC0415 - only here
    from aura.examiner.pdf import pdf  # noqa: PLC0415
    from aura.verify import verify  # noqa: PLC0415

    place, name, key_id = sys.argv[1:]
    limit_memory(PRINT_MEMORY)
    folder = Path(place)
    done = verify(folder / artifacts.REPORT, also={key_id: OWN_KEY})
    text = page(done, folder)
    (folder / name).write_bytes(pdf(text) if name == artifacts.PRINT else text.encode())


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main()
