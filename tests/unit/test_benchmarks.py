"""What the benchmark compares with must be the same network, and failures must not be timed."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from aura.runtime import open_session, weights_dir
from benchmarks import process
from benchmarks.stages import Stopwatch


def test_retinaface_in_eager_pytorch_gives_what_our_engine_gives():
    torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
    from benchmarks.onnx_eager import EagerOnnx

    path = weights_dir() / "retinaface-mobilenet.onnx"
    picture = np.random.default_rng(1).normal(0, 50, (1, 3, 96, 160)).astype(np.float32)
    theirs = EagerOnnx(path).run({"input": torch.from_numpy(picture)})
    ours = open_session(path, "cpu").run({"input": picture})
    assert set(theirs) == set(ours)
    for name, values in ours.items():
        assert np.allclose(theirs[name].numpy(), values, atol=1e-4), name


def test_a_command_that_fails_gives_no_figures():
    with pytest.raises(process.CommandFailed, match="exit code 3"):
        process.measure([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(process.CommandFailed, match="could not be started"):
        process.measure(["/no/such/program"])


def test_peak_memory_and_cpu_time_are_those_of_the_command():
    _mine = b"m" * 300_000_000  # memory of the measuring process must not count
    idle = process.measure([sys.executable, "-c", "import time; time.sleep(0.3); print('slept')"])
    big = process.measure([sys.executable, "-c", "x = b'x' * 200_000_000; x.count(b'y')"])
    assert idle.output == b"slept\n"
    assert idle.wall >= 0.3
    assert idle.cpu < idle.wall
    assert 180e6 < big.peak_memory - idle.peak_memory < 260e6


def test_the_stopwatch_counts_no_second_twice(monkeypatch):
    now = 0.0
    monkeypatch.setattr("benchmarks.stages.time.perf_counter", lambda: now)
    watch = Stopwatch()
    with watch("outer"):
        now += 1.0
        with watch("inner"):
            now += 5.0
        now += 2.0
    now += 100.0  # outside of everything
    assert watch.seconds == {"outer": 3.0, "inner": 5.0}
