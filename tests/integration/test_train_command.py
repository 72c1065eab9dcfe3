"""`aura train` as a command: kill -9 and the same again, several processes, wrong options."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.training.contract.checkpoint import load_checkpoint, read_info, read_state  # noqa: E402
from made_clips import MadeClips, calm_config, made_rows, tiny_config, write_set  # noqa: E402
from training_runs import curve, one_thread, weights  # noqa: E402


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    rows = made_rows("train", 16, 16) + made_rows("val", 4, 4)
    return write_set(tmp_path_factory.mktemp("set"), MadeClips(rows, seconds=2.0))


@pytest.fixture(scope="module")
def config_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "tiny.json"
    path.write_text(tiny_config().model_dump_json(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def calm_file(tmp_path_factory):
    """Without dropout, which each process draws for itself."""
    path = tmp_path_factory.mktemp("config") / "calm.json"
    path.write_text(calm_config().model_dump_json(), encoding="utf-8")
    return path


def command(prepared, run, config_file, *more):
    options = "--epochs 4 --batch 8 --windows-per-clip 2 --pairs shift --no-augment --log-every 1"
    out = ["train", str(prepared), "--out", str(run), "--config", str(config_file)]
    return [*out, *options.split(), "--learning-rate", "1e-3", *more]


def test_kill_9_within_an_epoch_then_the_same_command_gives_the_same_weights(
    tmp_path, prepared, config_file, run
):
    assert run(*command(prepared, tmp_path / "whole", config_file))[0] == 0
    total = read_info(tmp_path / "whole" / "latest").step
    broken = tmp_path / "broken"
    words = command(prepared, broken, config_file, "--checkpoint-every", "3")
    process = subprocess.Popen([sys.executable, "-m", "aura", *words], start_new_session=True)
    log, end = broken / "log.jsonl", time.monotonic() + 120
    while time.monotonic() < end and process.poll() is None:
        if log.exists() and len(log.read_bytes().splitlines()) > total // 3:
            break
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    reached = read_info(broken / "latest").step
    assert 0 < reached < total
    copied = tmp_path / "copied"
    shutil.copytree(broken, copied)
    code, out, err = run(*words, "--resume")
    assert (code, err) == (0, "")
    assert f"going on after step {reached} of {total}" in out
    assert curve(broken) == curve(tmp_path / "whole")
    for name in ("latest", "best"):
        assert weights(broken, name) == weights(tmp_path / "whole", name)
    states = [
        read_state(one / "latest")["optimiser"]["state"] for one in (broken, tmp_path / "whole")
    ]
    assert all(
        torch.equal(value, states[1][key][name])
        for key, moments in states[0].items()
        for name, value in moments.items()
    )
    code, _, err = run(*command(prepared, copied, config_file, "--seed", "1"))
    assert code == 2
    assert "seed was 0 and is 1 now" in err


def test_the_command_tells_where_the_weights_are_and_what_comes_next(
    tmp_path, prepared, config_file, run
):
    words = command(prepared, tmp_path / "run", config_file)
    words[words.index("--epochs") + 1] = "1"
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    assert f"{tmp_path / 'run' / 'best'}: epoch 1 of 1, AUC" in out
    assert f"Next: aura calibrate {tmp_path / 'run'} {prepared}" in out
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    card = json.loads((tmp_path / "run" / "best" / "checkpoint.json").read_text())
    assert card["training"]["pairs"] == ["shift"]
    assert len(card["data_hash"]) == 64


WRONG = {
    "--pairs shfit": "--pairs shfit: choose of",
    "--amp maybe": "amp",
    "--batch 0": "batch",
    "--config nothing.json": "nothing.json",
    "--device tpu": "device",
    "--resume": "no run to resume",
}


@pytest.mark.parametrize("more", WRONG)
def test_wrong_options_are_told_before_anything_is_written(
    tmp_path, prepared, config_file, run, more
):
    code, _, err = run(*command(prepared, tmp_path / "run", config_file, *more.split()))
    assert code == 2
    assert WRONG[more] in err
    assert not (tmp_path / "run").exists()


def test_a_folder_that_was_never_prepared_is_told(tmp_path, config_file, run):
    code, _, err = run(*command(tmp_path, tmp_path / "run", config_file))
    assert code == 3
    assert "aura data prepare" in err


def test_without_the_extra_the_command_says_what_to_install(
    tmp_path, prepared, config_file, run, monkeypatch
):
    monkeypatch.setattr("aura.training.command.NEEDED", ("torch", "no_such_library"))
    code, _, err = run(*command(prepared, tmp_path / "run", config_file))
    assert code == 4
    assert "pip install 'aura-veracity[train]'" in err


# -- several processes


def test_two_processes_train_what_one_does_with_the_same_batch(tmp_path, prepared, calm_file, run):
    """Batches of half of the windows each, in which other things count."""
    words = command(prepared, tmp_path / "alone", calm_file)
    words[words.index("--epochs") + 1] = "2"
    assert run(*words)[0] == 0
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port()]
    words[words.index("--out") + 1] = str(tmp_path / "both")
    done = subprocess.run(
        [sys.executable, *torchrun, "-m", "aura", *words],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("epoch   1 of 2") == 1
    one, other = (load_checkpoint(tmp_path / name)[0] for name in ("alone", "both"))
    start = load_start(calm_config())
    moved = 0.0
    for name, value in one.state_dict().items():
        # Attention does not depend on the keys' bias: its gradient is rounding alone, which Adam
        # blows up to full steps.
        if not name.endswith("fusion.key.bias"):
            assert torch.allclose(value, other.state_dict()[name], atol=2e-6), name
        moved = max(moved, float((value - start[name]).abs().max()))
    assert moved > 5e-3
    pairs = zip(curve(tmp_path / "alone"), curve(tmp_path / "both"), strict=True)
    for ours, theirs in pairs:
        assert ours.keys() == theirs.keys()
        for name, value in ours.items():
            close = pytest.approx(value, rel=1e-4, abs=1e-5) if type(value) is float else value
            assert theirs[name] == close, (name, ours["step"])


def load_start(config):
    from aura.training.contract.network import ContractNetwork

    torch.manual_seed(0)
    return ContractNetwork(config).state_dict()


def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_when_one_process_dies_the_other_ends_soon_and_says_so(tmp_path, prepared, config_file):
    words = command(prepared, tmp_path / "run", config_file, "--checkpoint-every", "2")
    words[words.index("--epochs") + 1] = "50"
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port(), "WORLD_SIZE": "2"}
    first, second = (
        subprocess.Popen(
            [sys.executable, "-m", "aura", *words],
            env={**os.environ, **shared, "RANK": rank, "AURA_TRAIN_WAIT": "20"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        for rank in ("0", "1")
    )
    try:
        end = time.monotonic() + 120
        while not (tmp_path / "run" / "latest").exists() and time.monotonic() < end:
            assert first.poll() is None
            time.sleep(0.01)
        os.killpg(second.pid, signal.SIGKILL)
        _, told = first.communicate(timeout=60)
    finally:
        for process in (first, second):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert first.returncode == 1
    assert "another process of this training died" in told
    assert "Traceback" not in told
    assert read_info(tmp_path / "run" / "latest").step >= 2
