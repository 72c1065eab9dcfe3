"""A preparation that is killed, interrupted, out of disk or crashed into goes on where it was."""

from __future__ import annotations

import os
import resource
import signal
import time

import pytest
from preparing_films import FPS, counted, hashes

from aura.errors import InputError, UsageError
from aura.training.data import workers
from aura.training.data.journal import Journal
from aura.training.data.manifest import Row, write_manifest
from aura.training.data.prepare import Options, prepare
from aura.training.data.prepared import open_prepared

FILES = 8


def long_set(root, films, count):
    """`count` files of other bytes each, all of the same two films."""
    root.mkdir()
    rows = []
    for number in range(count):
        name = f"{number:02}.mp4"
        source = films / ("real.mp4", "fake.mp4")[number % 2]
        # What follows the last box of an MP4 is ignored by readers and changes its hash.
        (root / name).write_bytes(source.read_bytes() + b"\0\0\0\x0cfree%04d" % number)
        rows.append(Row(name, ("real", "fake")[number % 2]))
    write_manifest(root / "manifest.csv", rows)
    return root / "manifest.csv"


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def group_lives(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_a_stopped_run_goes_on_where_it_was(start, films, tmp_path, stop, monkeypatch):
    manifest, out = long_set(tmp_path / "set", films, FILES), tmp_path / "out"
    process = start(
        *("data", "prepare", manifest, "--out", out, "--fps", "2", "--workers", "2"),
        start_new_session=True,
    )
    journal = out / "journal.jsonl"
    wait_for(lambda: journal.exists() and journal.read_bytes().count(b"\n") >= 2)
    if stop == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all its processes
    _, err = process.communicate(timeout=30)
    wait_for(lambda: not group_lives(process.pid))  # nobody goes on working
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command again" in err
        assert "Traceback" not in err
        assert not list(out.glob("shards/*/*.partial"))
    finished = {name: sha for name, sha in hashes(out).items() if name.endswith(".npz")}
    assert 2 <= len(finished) < FILES
    with pytest.raises(InputError, match="go on"):
        open_prepared(out)
    seen = counted(monkeypatch)
    prepare(manifest, out, Options(2.0), workers=1)
    assert len(seen) == FILES - len(finished)
    assert len(open_prepared(out)) == FILES
    after = hashes(out)
    assert len(after) == FILES  # and no half-written file is left
    assert finished.items() <= after.items()


def test_a_full_disk_ends_the_run_and_spoils_nothing(two_films, tmp_path):
    """Files may grow to 300 kB only: the journal fits, a shard does not."""
    out = tmp_path / "out"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises(UsageError, match="can't be written"):
            prepare(two_films / "manifest.csv", out, Options(FPS), workers=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert hashes(out) == {}  # no half shard, no partial file
    with pytest.raises(InputError, match="go on"):
        open_prepared(out)
    prepare(two_films / "manifest.csv", out, Options(FPS), workers=1)
    assert len(open_prepared(out)) == 2


def test_two_runs_at_once_are_refused(two_films, tmp_path):

    with (
        Journal(tmp_path / "out" / "journal.jsonl"),
        pytest.raises(UsageError, match="another run"),
    ):
        prepare(two_films / "manifest.csv", tmp_path / "out", workers=1)


def die_on_seven(number):
    if number == 7:
        os.abort()  # what a decoder does that meets a file made to break it
    return number


def crashed_item(number):
    return -number


def test_a_crash_costs_the_file_that_caused_it_and_no_other():
    numbers = list(range(1, 13))
    found = list(workers.in_processes(die_on_seven, numbers, 2, crashed_item))
    assert sorted(found) == sorted(-7 if number == 7 else number for number in numbers)
