"""Checkpoints: whole or not at all, nothing executed, a clear word about each kind of damage."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import resource
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.errors import UsageError, WeightsError  # noqa: E402
from aura.training.contract import checkpoint as module  # noqa: E402
from aura.training.contract.checkpoint import (  # noqa: E402
    CheckpointInfo,
    checkpoint_folder,
    load_checkpoint,
    read_info,
    read_state,
    save_checkpoint,
)
from aura.training.contract.config import ContractConfig, read_config  # noqa: E402
from aura.training.contract.network import ContractNetwork  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

STATE = {"step": 7, "moments": torch.arange(3.0), "order": [1, 2], "name": "a"}


def tiny() -> ContractConfig:
    """No video, a speech encoder of two thin layers: some thousand parameters."""
    return read_config("small").changed(
        enable_video=False,
        temporal={"width": 8},
        speech={
            "hidden": 16,
            "layers": 2,
            "width": 8,
            "architecture": {
                **read_config("small").speech.architecture,
                "intermediate_size": 16,
                "conv_dim": [8] * 7,
            },
        },
        fusion={"width": 8},
    )


def network(seed: int = 0) -> ContractNetwork:
    torch.manual_seed(seed)
    return ContractNetwork(tiny())


def info(**fields: Any) -> CheckpointInfo:
    whole = {"config": tiny(), "training": {"batch": 4}, "data_hash": "ab", "epoch": 2, "step": 7}
    return CheckpointInfo(**{**whole, "metrics": {"auc": 0.75, "eer": None}, **fields})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "latest"
    save_checkpoint(folder, network(), info(), STATE)
    return folder


def edit_card(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / module.CARD
    card = json.loads(path.read_text(encoding="utf-8"))
    change(card)
    path.write_text(json.dumps(card), encoding="utf-8")


def same_weights(one: ContractNetwork, other: ContractNetwork) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def test_a_checkpoint_comes_back_as_it_was_with_all_that_is_known_about_it(saved: Path) -> None:
    before = torch.get_rng_state()
    found, known = load_checkpoint(saved)
    assert torch.equal(torch.get_rng_state(), before)
    assert same_weights(found, network())
    assert not found.training
    assert known.config == tiny()
    assert (known.epoch, known.step, known.data_hash) == (2, 7, "ab")
    assert known.metrics == {"auc": 0.75, "eer": None}
    assert known.training == {"batch": 4}
    assert known.versions["torch"] == torch.__version__
    assert known.created.endswith("+00:00")
    state = read_state(saved)
    assert torch.equal(state.pop("moments"), STATE["moments"])
    assert state == {"step": 7, "order": [1, 2], "name": "a"}
    raw = (saved / module.WEIGHTS).read_bytes()
    assert known.weights_sha256 == hashlib.sha256(raw).hexdigest()
    assert sorted(path.name for path in saved.parent.iterdir()) == ["latest"]


def test_a_network_with_pretrained_encoders_loads_without_them_and_keeps_their_names(
    tmp_path: Path,
) -> None:
    source = {"source": "nobody/has-this", "revision": "0" * 40}
    config = tiny().changed(speech={"pretrained": source})
    save_checkpoint(tmp_path / "best", network(), info(config=config))
    found, known = load_checkpoint(tmp_path / "best")
    assert same_weights(found, network())
    assert known.config.speech.pretrained is not None
    assert found.config.speech.pretrained == known.config.speech.pretrained


def test_of_a_run_the_best_is_taken(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "latest", network(1), info(epoch=5))
    with pytest.raises(WeightsError, match="no checkpoint in"):
        load_checkpoint(tmp_path)
    save_checkpoint(tmp_path / "best", network(0), info(epoch=2))
    assert checkpoint_folder(tmp_path) == tmp_path / "best"
    assert load_checkpoint(tmp_path)[1].epoch == 2
    assert load_checkpoint(tmp_path / "latest")[1].epoch == 5


def test_a_missing_folder_is_told_with_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="aura train"):
        load_checkpoint(tmp_path / "nothing")
    with pytest.raises(WeightsError, match="no checkpoint at"):
        read_info(tmp_path / "nothing")


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_truncated_weights_are_refused(saved: Path, kept: int) -> None:
    path = saved / module.WEIGHTS
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="damaged"):
        load_checkpoint(saved)


def test_one_flipped_bit_in_the_weights_is_found(saved: Path) -> None:
    path = saved / module.WEIGHTS
    raw = bytearray(path.read_bytes())
    raw[-3] ^= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        load_checkpoint(saved)


class Trap:
    """Opening its pickle creates a folder."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("how", ["torch", "bare"])
def test_a_pickle_under_the_name_of_safetensors_is_refused_unopened(
    saved: Path, tmp_path: Path, how: str
) -> None:
    path, sprung = saved / module.WEIGHTS, tmp_path / "sprung"
    if how == "torch":
        torch.save({"weight": Trap(sprung)}, path)
    else:
        path.write_bytes(pickle.dumps(Trap(sprung)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(saved, lambda card: card.update(weights_sha256=digest))
    with pytest.raises(WeightsError, match=r"pickle.*only safetensors"):
        load_checkpoint(saved)
    assert not sprung.exists()


def test_a_state_that_would_run_code_is_refused_and_nothing_runs(
    saved: Path, tmp_path: Path
) -> None:
    path, sprung = saved / module.STATE, tmp_path / "sprung"
    torch.save({"step": Trap(sprung)}, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    edit_card(saved, lambda card: card.update(state_sha256=digest))
    with pytest.raises(WeightsError, match="plain values"):
        read_state(saved)
    assert not sprung.exists()


def test_a_damaged_or_missing_state_is_told_and_the_weights_still_load(saved: Path) -> None:
    path = saved / module.STATE
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(WeightsError, match="damaged"):
        read_state(saved)
    path.unlink()
    with pytest.raises(WeightsError, match=r"no state\.pt"):
        read_state(saved)
    assert same_weights(load_checkpoint(saved)[0], network())


def test_a_newer_format_asks_for_an_upgrade_before_anything_else(saved: Path) -> None:
    edit_card(saved, lambda card: card.update(format=2, unheard_of=1))
    (saved / module.WEIGHTS).unlink()
    with pytest.raises(WeightsError, match=r"format 2.*upgrade"):
        load_checkpoint(saved)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "can't be read"),
        ("[]", "names no format"),
        ("{}", "names no format"),
        ('{"format": "1"}', "names no format"),
        ('{"format": 1}', "config"),
    ],
)
def test_a_card_that_makes_no_sense_is_told(saved: Path, text: str, told: str) -> None:
    (saved / module.CARD).write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match=told):
        load_checkpoint(saved)


def test_weights_of_other_sizes_than_the_card_says_are_refused(saved: Path) -> None:
    edit_card(saved, lambda card: card["config"]["temporal"].update(width=16))
    with pytest.raises(WeightsError, match="does not fit"):
        load_checkpoint(saved)


def test_a_card_with_an_impossible_network_is_refused(saved: Path) -> None:
    edit_card(saved, lambda card: card["config"]["fusion"].update(width=9))
    with pytest.raises(WeightsError, match="config"):
        load_checkpoint(saved)


@pytest.fixture
def small_files_only() -> Iterator[Callable[[int], None]]:
    """Files may grow to so many bytes, as on a disk that is about to be full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize("part", ["weights", "state"])
def test_a_full_disk_leaves_the_old_checkpoint_untouched(
    saved: Path, small_files_only: Callable[[int], None], part: str
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    room = 2000 if part == "weights" else len(before[module.WEIGHTS]) + 4096
    state = {"moments": torch.zeros(room)}
    small_files_only(room)
    with pytest.raises(UsageError, match=r"can't be written.*before is kept"):
        save_checkpoint(saved, network(1), info(step=8), state)
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["latest"]
    assert same_weights(load_checkpoint(saved)[0], network(0))


def test_a_folder_that_can_not_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="can't be written"):
        save_checkpoint(tmp_path / "file" / "best", network(), info())


def test_a_stop_between_the_two_renames_loses_nothing(saved: Path) -> None:
    saved.rename(saved.with_name(".latest.old"))
    assert same_weights(load_checkpoint(saved)[0], network(0))
    assert read_state(saved)["step"] == 7
    save_checkpoint(saved, network(1), info(), STATE)
    assert same_weights(load_checkpoint(saved)[0], network(1))
    assert sorted(path.name for path in saved.parent.iterdir()) == ["latest"]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    import test_checkpoint as t
    from aura.training.contract import checkpoint, folders
    def die(path):
        os.kill(os.getpid(), signal.SIGKILL)
    folders._flush = die
    checkpoint.save_checkpoint(Path({folder!r}), t.network(1), t.info(step=8), t.STATE)
"""


def test_kill_9_while_writing_leaves_the_old_one_and_the_next_write_clears_up(saved: Path) -> None:
    code = textwrap.dedent(KILLED).format(tests=os.path.dirname(__file__), folder=str(saved))  # noqa: PTH120
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (saved.parent / ".latest.partial").exists()
    found, known = load_checkpoint(saved)
    assert known.step == 7
    assert same_weights(found, network(0))
    save_checkpoint(saved, network(1), info(step=8), STATE)
    assert load_checkpoint(saved)[1].step == 8
    assert sorted(path.name for path in saved.parent.iterdir()) == ["latest"]
