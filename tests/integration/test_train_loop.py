"""`aura train`: it learns, and a run that was killed, stopped or broken off loses nothing."""

from __future__ import annotations

import math
import os
import resource
import shutil
import signal

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is in the extra 'train'")
pytest.importorskip("transformers", reason="transformers is in the extra 'train'")

from aura.errors import AuraError, Cancelled, UsageError, WeightsError  # noqa: E402
from aura.training.contract.checkpoint import load_checkpoint, read_info  # noqa: E402
from aura.training.contract.dataset import Recipe, training_sets  # noqa: E402
from aura.training.contract.loop import FitResult, fit  # noqa: E402
from aura.training.contract.losses import Targets  # noqa: E402
from aura.training.contract.network import ContractNetwork, Encoded  # noqa: E402
from aura.training.contract.samples import Batch, Origin  # noqa: E402
from aura.training.contract.schedule import parameter_groups  # noqa: E402
from aura.training.contract.settings import Pace, read_settings  # noqa: E402
from made_clips import (  # noqa: E402
    MAKING,
    MadeClips,
    calm_config,
    made_rows,
    made_set,
    seeing_config,
    tiny_config,
)
from training_runs import curve, one_thread, read_log, weights  # noqa: E402

PACE = Pace(workers=0, log_every=1, tensorboard=False)
SETTINGS = read_settings(epochs=3, batch=8, windows_per_clip=2, learning_rate=3e-3, pairs=("swap",))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def network(config=None):
    torch.manual_seed(5)
    return ContractNetwork(config or tiny_config())


def sets(config=None, settings=SETTINGS, clips=None):
    recipe = Recipe(settings.pairs, settings.augment, settings.balance, settings.windows_per_clip)
    return training_sets(
        clips or made_set(), config or tiny_config(), recipe, seed=settings.seed, making=MAKING
    )


def train(folder, settings=SETTINGS, pace=PACE, config=None, **options) -> FitResult:
    net = options.pop("net", None) or network(config)
    both = sets(config, settings, options.pop("clips", None))
    return fit(net, *both, settings, folder, pace=pace, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of `SETTINGS` to its end, which others are compared with; nobody writes to it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(run)
    return run


@pytest.fixture
def finished(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


class Stop:
    """A hook that stops a run at a step, as Ctrl-C or a kill would."""

    def __init__(self, step, how):
        self.left, self.how = step, how

    def __call__(self, stage, completed, total):
        if stage.startswith("epoch"):
            self.left -= 1
            if self.left == 0:
                self.how()


class Killed(BaseException):
    """Stands for a kill: nothing gets a chance to tidy up."""


def die():
    raise Killed


def test_it_learns_to_hear_the_hum_and_keeps_the_best(tmp_path):
    settings = read_settings(
        epochs=12, batch=8, windows_per_clip=4, learning_rate=1e-2, pairs=(), augment=False
    )
    told = []
    result = train(tmp_path / "run", settings, tell=told.append)
    steps = [one for one in read_log(tmp_path / "run") if one["event"] == "step"]
    assert result.best["auc"] == 1.0
    early, late = (sum(one["classification"] for one in part) for part in (steps[:4], steps[-4:]))
    assert late < 0.8 * early
    epochs = [one for one in read_log(tmp_path / "run") if one["event"] == "epoch"]
    best = [one for one in epochs if one["best"]][-1]
    info = read_info(tmp_path / "run" / "best")
    assert info.epoch == best["epoch"] == result.best["epoch"]
    assert info.metrics["loss"] == best["loss"]
    assert info.training["learning_rate"] == 1e-2
    assert len(told) == len(epochs) == result.epochs
    trained, _ = load_checkpoint(tmp_path / "run")
    val = sets(settings=settings)[1]
    right = 0
    for keys in val.batches(0, 8):
        batch = val.collate([val[key] for key in keys]).to_device(torch.device("cpu"))
        with torch.no_grad():
            fake = trained(*batch.inputs).logits.argmax(dim=1)
        right += int((fake == batch.targets.label).all())
    assert right == len(val.batches(0, 8))


def test_warm_up_and_cosine_are_what_the_log_says(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 10, "warmup_steps": 2, "early_stop": 10})
    train(tmp_path / "run", settings)
    rates = [one["learning_rate"] for one in curve(tmp_path / "run") if one["event"] == "step"]
    full, total = settings.learning_rate, len(rates)
    assert total == 40
    assert rates[:3] == pytest.approx([full / 2, full, full])
    assert rates[21] == pytest.approx(full * 0.5 * (1 + math.cos(math.pi * 19 / 38)))
    assert 0 < rates[-1] < 0.02 * full


def test_encoders_have_their_rate_and_norms_do_not_decay():
    net = network()
    source = {"source": "a/b", "revision": "0" * 40}
    net.config = net.config.changed(speech={"pretrained": source})
    settings = read_settings(encoder_learning_rate=1e-5, weight_decay=0.1)
    groups = parameter_groups(net, settings)
    rate = {id(v): (g["full_rate"], g["weight_decay"]) for g in groups for v in g["params"]}
    named = dict(net.named_parameters())
    assert len(rate) == sum(value.requires_grad for value in named.values())
    assert rate[id(named["heads.classifier.weight"])] == (1e-4, 0.1)
    assert rate[id(named["heads.classifier.bias"])] == (1e-4, 0.0)
    inner = "speech.network.encoder.layers.0.attention.k_proj"
    assert rate[id(named[f"{inner}.weight"])] == (1e-5, 0.1)
    assert rate[id(named[f"{inner}.bias"])] == (1e-5, 0.0)


@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_run_broken_off_anywhere_ends_as_if_it_had_not_been(tmp_path, whole, step):
    """An epoch has four steps: within the first, just before its validation, within the second."""
    pace = PACE.model_copy(update={"checkpoint_every": 1})
    with pytest.raises(Killed):
        train(tmp_path / "run", pace=pace, hook=Stop(step, die))
    train(tmp_path / "run", pace=pace.model_copy(update={"workers": 1}))
    assert curve(tmp_path / "run") == curve(whole)
    for name in ("best", "latest"):
        assert weights(tmp_path / "run", name) == weights(whole, name)


def test_the_network_that_sees_resumes_exactly_as_well(tmp_path):
    config = seeing_config()
    settings = SETTINGS.model_copy(update={"epochs": 1, "batch": 2, "windows_per_clip": 1})
    pace = PACE.model_copy(update={"checkpoint_every": 1})
    clips = MadeClips(made_rows("train", 2, 2) + made_rows("val", 2, 2), seconds=1.0)
    train(tmp_path / "whole", settings, config=config, clips=clips)
    with pytest.raises(Killed):
        train(tmp_path / "run", settings, pace, config=config, clips=clips, hook=Stop(3, die))
    assert read_info(tmp_path / "run" / "latest").step == 2
    train(tmp_path / "run", settings, pace, config=config, clips=clips, must_resume=True)
    assert curve(tmp_path / "run") == curve(tmp_path / "whole")
    assert weights(tmp_path / "run") == weights(tmp_path / "whole")
    stem = "appearance.network.embeddings.convolution.weight"
    before, after = network(config), load_checkpoint(tmp_path / "run")[0]
    assert not torch.equal(before.state_dict()[stem], after.state_dict()[stem])


def test_ctrl_c_keeps_everything_and_says_how_to_go_on(tmp_path, whole):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Cancelled, match=r"after step 3 of 12; .*latest has everything.*again"):
        train(tmp_path / "run", hook=Stop(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert signal.getsignal(signal.SIGINT) is handler
    told = []
    train(tmp_path / "run", tell=told.append)
    assert told[0] == "going on after step 3 of 12"
    assert curve(tmp_path / "run") == curve(whole)
    assert weights(tmp_path / "run") == weights(whole)


def test_a_finished_run_is_left_alone(finished):
    before = weights(finished)
    told = []
    again = train(finished, tell=told.append)
    assert (again.steps, again.epochs) == (12, 3)
    assert again.best["epoch"] == read_info(finished / "best").epoch
    assert "to its end already" in told[0]
    assert weights(finished) == before


def test_other_settings_are_refused_by_name_and_nothing_is_touched(finished):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    other = SETTINGS.model_copy(update={"learning_rate": 1e-5})
    with pytest.raises(UsageError, match=r"learning_rate was 0\.003 and is 1e-05 now"):
        train(finished, other)
    with pytest.raises(UsageError, match=r"config\.heads\.dropout was 0\.3 and is 0\.1 now"):
        train(finished, config=tiny_config(heads={"dropout": 0.1}))
    other_data = sets(clips=MadeClips(made_rows("train", 5, 4) + made_rows("val", 4, 4)))
    with pytest.raises(UsageError, match="data was"):
        fit(network(), *other_data, SETTINGS, finished, pace=PACE)
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_a_folder_with_other_things_in_it_is_no_run(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(UsageError, match="holds other files"):
        train(tmp_path)
    with pytest.raises(UsageError, match="no run to resume"):
        train(tmp_path / "new", must_resume=True)
    assert not (tmp_path / "new").exists()


def test_a_damaged_checkpoint_is_refused_and_kept(tmp_path):
    with pytest.raises(Cancelled):
        train(tmp_path / "run", hook=Stop(3, lambda: os.kill(os.getpid(), signal.SIGINT)))
    path = tmp_path / "run" / "latest" / "state.pt"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="damaged"):
        train(tmp_path / "run")
    assert read_info(tmp_path / "run" / "latest").step == 3


def test_a_loss_that_is_not_a_number_stops_at_its_step_and_keeps_what_is_good(tmp_path):
    net = network()
    pace = PACE.model_copy(update={"checkpoint_every": 2})

    def spoil():
        with torch.no_grad():
            net.heads.classifier.bias.fill_(math.nan)

    told = r"loss is not a finite number at step 4 \(epoch 1, in classification\); .*latest is kept"
    with pytest.raises(AuraError, match=told):
        train(tmp_path / "run", pace=pace, net=net, hook=Stop(3, spoil))
    kept, info = load_checkpoint(tmp_path / "run" / "latest")
    assert info.step == 2
    assert all(bool(value.isfinite().all()) for value in kept.state_dict().values())
    assert [one["step"] for one in curve(tmp_path / "run")] == [1, 2, 3]


def test_an_infinite_gradient_stops_before_it_reaches_the_weights(tmp_path):
    net = network()
    net.heads.classifier.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(
        AuraError, match=r"gradient is not a finite number at step 1.*no checkpoint"
    ):
        train(tmp_path / "run", net=net)
    assert all(bool(value.isfinite().all()) for value in net.state_dict().values())
    assert not (tmp_path / "run" / "latest").exists()


def test_a_full_disk_stops_the_run_and_room_lets_it_go_on(tmp_path, whole):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        # Enough for the log, too little for the weights of the second epoch.
        fill = Stop(5, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1])))
        with pytest.raises(UsageError, match=r"can't be written.*before is kept.*resume"):
            train(tmp_path / "run", hook=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert read_info(tmp_path / "run" / "latest").step == 4
    train(tmp_path / "run")
    assert curve(tmp_path / "run") == curve(whole)
    assert weights(tmp_path / "run") == weights(whole)


def test_it_stops_early_when_nothing_gets_better(tmp_path):
    settings = SETTINGS.model_copy(
        update={"epochs": 6, "early_stop": 2, "learning_rate": 1e-12, "select_by": "auc"}
    )
    result = train(tmp_path / "run", settings)
    assert result.early
    assert result.epochs < 6
    epochs = [one for one in read_log(tmp_path / "run") if one["event"] == "epoch"]
    assert [one["best"] for one in epochs[-2:]] == [False, False]
    assert train(tmp_path / "run", settings).epochs == result.epochs


def test_accumulated_parts_are_one_batch(tmp_path):
    calm = calm_config()
    whole = SETTINGS.model_copy(update={"epochs": 1, "pairs": ()})
    parts = whole.model_copy(update={"accumulate": 4})
    train(tmp_path / "whole", whole, config=calm)
    train(tmp_path / "parts", parts, config=calm)
    one, other = (load_checkpoint(tmp_path / name)[0].state_dict() for name in ("whole", "parts"))
    start = network(calm).state_dict()
    for name, value in one.items():
        assert torch.allclose(value, other[name], atol=2e-4), name
    assert any(not torch.allclose(value, start[name], atol=2e-3) for name, value in one.items())


def test_bfloat16_trains_and_keeps_float32_weights(tmp_path):
    settings = SETTINGS.model_copy(update={"epochs": 1, "amp": "on"})
    result = train(tmp_path / "run", settings)
    train(tmp_path / "full", SETTINGS.model_copy(update={"epochs": 1}))
    trained = load_checkpoint(tmp_path / "run")[0]
    assert {value.dtype for value in trained.parameters()} == {torch.float32}
    assert math.isfinite(result.best["loss"])
    assert weights(tmp_path / "run") != weights(tmp_path / "full")


class Encodings:
    """Cached encodings as a `Source`: a fake one has a longer vector."""

    data_hash = "made"

    def __init__(self, config, count):
        self.config, self.count = config, count

    def batches(self, epoch, size):
        order = torch.randperm(self.count, generator=torch.Generator().manual_seed(epoch)).tolist()
        return [order[i : i + size] for i in range(0, self.count, size)]

    def __getitem__(self, key):
        random = torch.Generator().manual_seed(key)
        speech = torch.randn(4, self.config.speech.hidden, generator=random)
        speech[:, 0] += 4.0 * (key % 2)
        return key, Encoded(
            torch.zeros(5, self.config.frame_width),
            torch.zeros(5, dtype=torch.bool),
            speech,
            torch.ones(4, dtype=torch.bool),
        )

    def collate(self, items):
        labels = torch.tensor([key % 2 for key, _ in items])
        unknown = torch.full((len(items), 5), -1)
        nothing = torch.zeros(len(items), 5, 0)
        return Batch(
            Encoded(*(torch.stack(values) for values in zip(*(e for _, e in items), strict=True))),
            Targets(labels, labels, labels, unknown[:, 0], unknown, nothing, nothing),
            tuple(Origin(key, str(key), "", key % 2, 0.0, 1.0, ()) for key, _ in items),
        )


def test_cached_encodings_train_what_stands_on_the_encoders(tmp_path):
    net = network()
    net.speech.freeze(*net.speech.children())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    settings = read_settings(epochs=8, batch=16, learning_rate=1e-2)
    source = Encodings(net.config, 64)
    result = fit(net, source, source, settings, tmp_path / "run", pace=PACE)
    assert result.best["auc"] > 0.99
    moved = {n for n, value in net.state_dict().items() if not torch.equal(value, before[n])}
    assert not any(name.startswith("speech.") for name in moved)
    assert {name.split(".")[0] for name in moved} >= {"speech_projection", "fusion", "heads"}
