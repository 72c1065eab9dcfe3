"""The heavy public networks at full size with random weights: pull, convert, speed and memory.

    python -m benchmarks.public            # every network; minutes, and some GB of memory
    python -m benchmarks.public gend-clip-l14

Each runs in a process of its own, so that peak memory is its own. Checkpoints of the public
layouts are made on the spot and served by a hub on this machine. Nothing is said about how well
they detect.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

TESTS = Path(__file__).parents[1] / "tests"
NAMES: tuple[str, ...] = ("facetorch-b7", "videomae-deepfake", "wav2vec2-deepfake", "gend-clip-l14")
NAMES += ("wav2vec2-voice-clone",)
TRIES = 5
REPO = "someone/full-size"


def checkpoint(name: str, folder: Path) -> dict[str, bytes]:
    """A full-size checkpoint in the layout of the public one."""
    import public_checkpoints as made  # noqa: PLC0415 - of the tests; needs PyTorch

    if name == "facetorch-b7":
        # Lively: untrained batch norms let everything fade, and parity of nothing says nothing.
        network = made.lively(made.DeepFakeClassifier(2.0, 3.1), 128)
        return {"model.pt": made.torchscript(network, 380)}
    if name == "gend-clip-l14":
        sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24}
        tower = made.GenD(**sizes, num_attention_heads=16, image_size=224, patch_size=14)
        return dict(made.files_of_gend(tower))
    model = made.videomae() if name == "videomae-deepfake" else made.wav2vec2()
    return dict(made.files_of(model, folder))


def pulled(name: str) -> dict[str, Any]:
    """Serve a checkpoint and pull it; seconds, megabytes, parity."""
    from mirror import Mirror, serving  # noqa: PLC0415

    from aura import registry  # noqa: PLC0415
    from aura.cli import run  # noqa: PLC0415
    from aura.hub.catalogue import sources  # noqa: PLC0415
    from aura.runtime import read_card  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        files = checkpoint(name, Path(folder))
    size = sum(len(data) for data in files.values())
    profile = next(one.profiles[0] for one in sources() if one.name == name)
    served = Mirror(files={f"{REPO}/{key}": data for key, data in files.items()})
    began = time.perf_counter()
    with serving(served) as hub:
        options = ["--only", name, "--repo", REPO, "--accept-licence", "--mirror", hub.address]
        if run(["weights", "pull", profile, *options, "--quiet"]) != 0:
            raise SystemExit(f"{name} could not be pulled")
    version = registry.in_use(name)
    assert version is not None
    card = read_card(registry.version_dir(name, version) / registry.CARD)
    return {
        "parameters": card.parameters["count"],
        "checkpoint_mb": size / 1e6,
        "pull_seconds": time.perf_counter() - began,
        "parity": card.parameters["parity_max_logit_error"],
    }


def measured(name: str) -> dict[str, Any]:
    """Open the converted network as analysis does and time it; peak memory of the process."""
    from aura.runtime import load_model, network_threads  # noqa: PLC0415

    began = time.perf_counter()
    model = load_model(name, "cpu")
    opened = time.perf_counter() - began
    random = np.random.default_rng(0)
    key = next(iter(model.card.inputs))
    if key == "sound":
        batch, what = random.normal(0, 0.1, (1, 64_000)).astype(np.float32), "4 s of speech"
    elif key == "clips":
        frames, side = model.card.parameters["frames"], model.card.parameters["side"]
        batch = random.integers(0, 256, (1, frames, side, side, 3), np.uint8)
        what = f"{frames} faces"
    else:
        side = model.card.parameters["side"]
        batch, what = random.integers(0, 256, (4, side, side, 3), np.uint8), "4 faces"
    times = []
    for _ in range(TRIES + 1):
        start, cpu = time.perf_counter(), time.process_time()
        model.run({key: batch})
        times.append((time.perf_counter() - start, time.process_time() - cpu))
    times = times[1:]  # the first one compiles for the shape
    return {
        "what": what,
        "threads": network_threads(),
        "open_seconds": opened,
        "run_seconds": min(one for one, _ in times),
        "run_cpu_seconds": min(one for _, one in times),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def analysed(profile: str) -> dict[str, Any]:
    """Analyse the sample of eight seconds with what was pulled; seconds, memory, what ran."""
    import aura  # noqa: PLC0415
    from aura.sample import render_sample  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        path = render_sample(Path(folder) / "sample.mp4")
        began, cpu = time.perf_counter(), time.process_time()
        report = aura.analyze(path, profile=profile)
        seconds, used = time.perf_counter() - began, time.process_time() - cpu
    return {
        "profile": profile,
        "clip_seconds": report.metadata.video_duration_sec,
        "seconds": seconds,
        "cpu_seconds": used,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
        "detectors": {one.name: one.status for one in report.detectors},
    }


def main(names: list[str]) -> None:
    """Pull and measure each in processes of its own, then analyse; on standard output."""
    print(f"{time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "AURA_HOME": home}
        for name in names or NAMES:
            found: dict[str, Any] = {"network": name}
            for step in ("pulled", "measured"):
                found |= _in_process(f"{step}({name!r})", environment)
            print(json.dumps({k: _short(v) for k, v in found.items()}), flush=True)
        for profile in () if names else ("ensemble", "frontier"):
            found = _in_process(f"analysed({profile!r})", environment)
            print(json.dumps({k: _short(v) for k, v in found.items()}), flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")


def _in_process(call: str, environment: dict[str, str]) -> dict[str, Any]:
    code = (
        f"import sys, json; sys.path[:0] = {[str(TESTS / 'unit'), str(TESTS)]!r}; "
        f"from benchmarks import public; "
        f"print('\\n' + json.dumps(public.{call}))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def _short(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) and value > 0.01 else value


if __name__ == "__main__":
    main(sys.argv[1:])
