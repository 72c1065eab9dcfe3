"""Does cross-attention earn its place? The contract network against its own simpler forms.

Real clips of talking people are all that is needed: fakes and their real partners are made of them.
The people are dealt into folds; what is reported of a clip was said by networks that never met its
people. Four forms are trained on the same encoded windows for the same number of steps:

- `cross-attention`: the contract's fusion, video asks and sound answers;
- `concatenation`: the mean of the sound beside the mean of the video;
- `video`, `audio`: one modality alone.

Each is trained with several seeds, whose logits are averaged. Fakes of the prepared set that nobody
made here are scored as well (by the fold that holds out their people) and reported apart.

Talking photographs (`talkers.py`), where given, are trained on beside the clips, and other ones are
a positive control: whether a form can learn sync at all when there is plenty to learn from.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from aura.errors import UsageError
from aura.metrics import Estimate, auc, auc_interval, bootstrap
from aura.training.contract.bank import Bank, BankSet, Encoder, joined, load_bank, save_bank
from aura.training.contract.dataset import Recipe, WindowSet
from aura.training.contract.loop import fit
from aura.training.contract.making import self_made
from aura.training.contract.network import ContractNetwork
from aura.training.contract.settings import read_pace, read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.contract.config import ContractConfig
    from aura.training.contract.talkers import Talkers
    from aura.training.data.manifest import Row
    from aura.training.data.prepared import PreparedSet

FORMS: dict[str, dict[str, Any]] = {
    "cross-attention": {},
    "concatenation": {"fusion": {"kind": "concatenation"}},
    "video": {"enable_audio": False},
    "audio": {"enable_video": False},
}
KINDS = ("self_blend", "revoice", "shift", "swap", "both")
SYNC_KINDS = ("shift", "swap")
TALKERS = "talkers"
FOLDS = 5
TEST_SEED = 1000  # of the draws that are reported; no training draw has it
WINDOWS_AT_ONCE = 256
WARMUP_STEPS = 50
MIN_SPEECH = (
    1.0  # seconds; a silent clip says nothing about how face and voice are brought together
)


@dataclass(frozen=True)
class Plan:
    """How much is made and trained; the same for each form.

    `epochs` of windows that are drawn and encoded, `rounds` that each form trains over all of them,
    `draws` of each kind of fake for the test, `seeds` of each form.
    """

    epochs: int = 8
    windows_per_clip: int = 4
    draws: int = 2
    rounds: int = 8
    seeds: int = 2
    batch: int = 32
    learning_rate: float = 5e-4
    weight_decay: float = 0.05


def folds(
    rows: Sequence[Row], speech: Sequence[float], chosen: Sequence[int], count: int = FOLDS
) -> list[list[int]]:
    """Clips dealt into folds by what they share: nobody is in two; talking people evenly.

    Args:
        rows: of a prepared set. speech: seconds of speech in each clip. chosen: which to deal.

    Returns:
        Places in `rows`, a list for each fold.

    Raises:
        UsageError: fewer people than folds.
    """
    owners: dict[str, list[int]] = {}
    for place in chosen:
        owners.setdefault(_owner(rows[place]), []).append(place)
    if len(owners) < count:
        raise UsageError(
            f"{len(owners)} people or groups can't be dealt into {count} folds: add clips"
        )
    # Most speech first, so that each fold gets its share; names settle ties.
    order = sorted(owners, key=lambda name: (-sum(speech[i] for i in owners[name]), name))
    dealt: list[list[int]] = [[] for _ in range(count)]
    for turn, name in enumerate(order):
        lap, place = divmod(turn, count)
        dealt[place if lap % 2 == 0 else count - 1 - place] += owners[name]
    return [sorted(fold) for fold in dealt]


@dataclass(frozen=True)
class Study:
    """One run of the comparison.

    Args:
        clips: a prepared set, at one rate. config: with frozen encoders, see `quick.json`.
        plan: how much. out: encoded windows are kept there, so that an interrupted study goes on.
        say: told a line now and then. talkers: to train on, and other ones as a control.
    """

    clips: PreparedSet
    config: ContractConfig
    plan: Plan
    out: Path
    say: Callable[[str], None]
    talkers: tuple[Talkers, Talkers] | None = None

    def run(self) -> Path:
        """Make, train, measure; writes and returns `out/study.json`.

        Raises:
            UsageError: too few people, or encoders that train.
        """
        rows, speech = self.clips.rows, [place.speech for place in self.clips.places]
        talking = [i for i, seconds in enumerate(speech) if seconds >= MIN_SPEECH]
        dealt = folds(rows, speech, talking)
        trains, tests = self._banks(dealt)
        if self.talkers is not None:
            shared, control = self._talking(self.talkers)
            trains.append(shared)
            tests.append(control)
        answers = {name: self._answers(name, trains, tests) for name in FORMS}
        document = {
            "data_hash": self.clips.data_hash,
            "config": self.config.name,
            "plan": asdict(self.plan),
            "people": [sorted({_owner(rows[i]) for i in fold}) for fold in dealt],
            "training_windows": [len(bank) for bank in trains],
            "trained_parameters": {name: self._parameters(name) for name in FORMS},
            "auc": figures(_by_clip(rows, tests, answers)),
            "talkers": None if self.talkers is None else self.talkers[0].data_hash,
        }
        path = self.out / "study.json"
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        return path

    def _form(self, name: str) -> ContractConfig:
        return self.config.changed(**FORMS[name])

    def _parameters(self, name: str) -> int:
        network = ContractNetwork(self._form(name))
        return sum(p.numel() for p in network.parameters() if p.requires_grad)

    def _banks(self, dealt: Sequence[Sequence[int]]) -> tuple[list[Bank], list[Bank]]:
        """Of each fold the windows to train on and those to report."""
        self.out.mkdir(parents=True, exist_ok=True)
        encoder = Encoder(ContractNetwork(self.config))
        trains, tests = [], []
        for number, fold in enumerate(dealt):
            real = [i for i in fold if not self.clips.rows[i].target]
            path = self.out / f"train-{number}.safetensors"
            if not path.is_file():
                save_bank(path, self._training_bank(real, encoder))
            trains.append(load_bank(path))
            path = self.out / f"test-{number}.safetensors"
            if not path.is_file():
                save_bank(path, self._test_bank(fold, encoder))
            tests.append(load_bank(path))
            encoder.forget()
            self.say(f"fold {number + 1} of {len(dealt)}: {len(trains[-1])} windows to train on")
        return trains, tests

    def _talking(self, talkers: tuple[Talkers, Talkers]) -> tuple[Bank, Bank]:
        """Windows of talking photographs: in sync, shifted and swapped."""
        banks = []
        for number, some in enumerate(talkers):
            path = self.out / f"talkers-{number}.safetensors"
            if not path.is_file():
                encoder = Encoder(ContractNetwork(self.config))
                places = range(len(some.rows))
                parts: list[Bank] = []
                for kind in SYNC_KINDS:
                    source = WindowSet(
                        some, places, self.config, Recipe((kind,)), seed=number, making=self_made()
                    )
                    parts += _encoded(source, encoder, f"{TALKERS} {kind}")
                save_bank(path, joined(parts))
            banks.append(load_bank(path))
            self.say(f"talking photographs: {len(banks[-1])} windows")
        return banks[0], banks[1]

    def _training_bank(self, real: list[int], encoder: Encoder) -> Bank:
        recipe = Recipe(KINDS, augment=True, windows=self.plan.windows_per_clip)
        source = WindowSet(self.clips, real, self.config, recipe, making=self_made())
        parts = []
        for epoch in range(self.plan.epochs):
            parts += [
                encoder.encode(source.collate([source[unit]])) for unit in source.units(epoch)
            ]
            encoder.forget()  # augmented faces don't come again
        return joined(parts)

    def _test_bank(self, fold: Sequence[int], encoder: Encoder) -> Bank:
        """Each kind of fake and its real partners; then the fakes that nobody made here."""
        real = [i for i in fold if not self.clips.rows[i].target]
        parts: list[Bank] = []
        for kind in KINDS:
            for draw in range(self.plan.draws if kind in SYNC_KINDS else 1):
                recipe, seed = Recipe((kind,)), TEST_SEED + draw
                source = WindowSet(
                    self.clips, real, self.config, recipe, seed=seed, making=self_made()
                )
                parts += _encoded(source, encoder, f"{kind} {draw}")
        found = [i for i in fold if self.clips.rows[i].target]
        return joined(
            [*parts, *_encoded(WindowSet(self.clips, found, self.config), encoder, "found")]
        )

    def _answers(
        self, name: str, trains: Sequence[Bank], tests: Sequence[Bank]
    ) -> list[NDArray[np.float64]]:
        """What one form says of each fold that it did not see; logits averaged over seeds."""
        found = []
        for held, test in enumerate(tests):
            # The control's place is that of the talkers that are trained on, which are other ones.
            kept = [bank for i, bank in enumerate(trains) if i != held or held == FOLDS]
            networks = (
                self._trained(name, joined(kept), test, seed) for seed in range(self.plan.seeds)
            )
            found.append(np.mean([_judged(network, test) for network in networks], axis=0))
        self.say(f"{name}: trained {len(tests)} x {self.plan.seeds} times")
        return found

    def _trained(self, name: str, train: Bank, other: Bank, seed: int) -> ContractNetwork:
        """A network at the end of its budget: none is picked, so none can be picked luckily.

        The loop wants validation windows; what it says of them is read by nobody.
        """
        plan, form = self.plan, self._form(name)
        torch.manual_seed(seed)
        network = ContractNetwork(form)
        settings = read_settings(
            epochs=plan.rounds,
            early_stop=plan.rounds,
            batch=plan.batch,
            learning_rate=plan.learning_rate,
            weight_decay=plan.weight_decay,
            warmup_steps=WARMUP_STEPS,
            seed=seed,
            select_by="loss",
            amp="off",
        )
        run = self.out / "run"
        shutil.rmtree(run, ignore_errors=True)
        fit(
            network,
            BankSet(train, form, seed=seed, drop=True),
            BankSet(other.chosen(range(min(len(other), plan.batch))), form),
            settings,
            run,
            pace=read_pace(workers=0, log_every=100, tensorboard=False, device="cpu"),
        )
        shutil.rmtree(run, ignore_errors=True)
        return network.eval()


def _encoded(source: WindowSet, encoder: Encoder, name: str) -> list[Bank]:
    """All windows of a source; `kind` of each says which comparison it belongs to."""
    parts = []
    for unit in source.units(0):
        samples = source[unit]
        if unit.made and not samples[0].origin.kind:
            continue  # a clip that allows no fake of this kind
        bank = encoder.encode(source.collate([samples]))
        origins = tuple(one._replace(kind=name) for one in bank.origins)
        parts.append(Bank(bank.inputs, bank.targets, origins))
    return parts


@torch.inference_mode()
def _judged(network: ContractNetwork, bank: Bank) -> NDArray[np.float64]:
    """(N, 2) logits of fake and of disagreement; nan where nothing, or not both, was there."""
    source = BankSet(bank, network.config)
    rows = []
    for first in range(0, len(bank), WINDOWS_AT_ONCE):
        outputs = network.decide(source.shown(first, first + WINDOWS_AT_ONCE))
        both = (outputs.has_video & outputs.has_audio).numpy()
        any_there = (outputs.has_video | outputs.has_audio).numpy()
        fake = (outputs.logits[:, 1] - outputs.logits[:, 0]).numpy()
        apart = np.where(both, outputs.disagreement.numpy(), np.nan)
        rows.append(np.stack([np.where(any_there, fake, np.nan), apart], axis=1))
    return np.concatenate(rows).astype(np.float64)


def _owner(row: Row) -> str:
    return row.group or row.identity or row.path


@dataclass(frozen=True)
class _Clips:
    """Scores by clip: one line for each clip as it is or was made, with its comparison's name."""

    kinds: NDArray[np.str_]
    labels: NDArray[np.int64]
    groups: NDArray[np.str_]
    talking: NDArray[np.bool_]
    scores: dict[str, NDArray[np.float64]]  # of the fake logit, by form
    apart: dict[str, NDArray[np.float64]]  # of the disagreement logit


def _by_clip(
    rows: Sequence[Row], tests: Sequence[Bank], answers: dict[str, list[NDArray[np.float64]]]
) -> _Clips:
    kinds, labels, groups, talking = [], [], [], []
    scores: dict[str, list[float]] = {name: [] for name in answers}
    apart: dict[str, list[float]] = {name: [] for name in answers}
    for fold, bank in enumerate(tests):
        members: dict[tuple[str, int, int], list[int]] = {}
        for place, one in enumerate(bank.origins):
            members.setdefault((one.kind, one.clip, one.label), []).append(place)
        both = (bank.inputs.frame_mask.any(1) & bank.inputs.speech_mask.any(1)).numpy()
        for (kind, clip, label), places in members.items():
            kinds.append(kind.split()[0])
            labels.append(label)
            # A talking photograph is its own person; its clip is not one of the set's.
            groups.append(f"{TALKERS} {clip}" if fold == FOLDS else _owner(rows[clip]))
            talking.append(bool(both[places].any()))
            for name, parts in answers.items():
                own = parts[fold][places]
                scores[name].append(_mean(own[:, 0]))
                apart[name].append(_mean(own[:, 1]))
    return _Clips(
        np.array(kinds),
        np.array(labels),
        np.array(groups),
        np.array(talking),
        {name: np.array(values) for name, values in scores.items()},
        {name: np.array(values) for name, values in apart.items()},
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def figures(clips: _Clips) -> dict[str, Any]:
    """AUCs by clip with intervals over people, and differences between the fusions.

    `overall`: all self-made fakes against their real partners. One row a kind. `apart`: the
    disagreement head on shifted and swapped sound. `found`: fakes of the set that nobody made
    here, against the real partners. `talkers`: the disagreement head on photographs. Only clips
    that every compared form could judge.
    """
    found, photographs = clips.kinds == "found", clips.kinds == TALKERS
    made = ~found & ~photographs
    wanted = {
        "overall": (clips.scores, made),
        **{kind: (clips.scores, clips.kinds == kind) for kind in KINDS},
        "apart": (clips.apart, np.isin(clips.kinds, SYNC_KINDS)),
        "found": (clips.scores, found | (made & (clips.labels == 0))),
        TALKERS: (clips.apart, photographs),
    }
    table: dict[str, Any] = {}
    for what, (scores, chosen) in wanted.items():
        # A clip without both face and voice says nothing about how the two are brought together.
        rows = chosen & (clips.talking | found)
        if not rows.any():
            continue
        table[what] = {
            "clips": {"real": int((rows & (clips.labels == 0)).sum())},
            **{
                name: _figure(auc_interval(clips.labels[ok], values[ok], clips.groups[ok]))
                for name, values in scores.items()
                if (ok := rows & np.isfinite(values)).any()
            },
        }
        table[what]["clips"]["fake"] = int((rows & (clips.labels == 1)).sum())
        ok = rows & np.isfinite(scores["cross-attention"]) & np.isfinite(scores["concatenation"])
        gain = _gain(clips.labels[ok], scores, ok, clips.groups[ok])
        table[what]["cross-attention minus concatenation"] = _figure(gain)
    return table


def _gain(
    labels: NDArray[np.int64],
    scores: dict[str, NDArray[np.float64]],
    ok: NDArray[np.bool_],
    groups: NDArray[np.str_],
) -> Estimate:
    """Paired: both forms are judged on the same resampled people."""
    first, second = scores["cross-attention"][ok], scores["concatenation"][ok]

    def difference(drawn: NDArray[Any], places: NDArray[Any]) -> float:
        rows = places.astype(np.intp)
        return auc(drawn, first[rows]) - auc(drawn, second[rows])

    return bootstrap(difference, labels, np.arange(len(labels)), groups)


def _figure(one: Estimate) -> list[float]:
    return [round(float(value), 3) for value in (one.value, one.low, one.high)]
