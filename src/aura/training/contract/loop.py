"""The training loop: `fit(network, train_set, val_set, settings, run_folder)`.

What happens at a step depends on (settings, data, step) alone: the order of the data, all that is
drawn for them and dropout are seeded by it. A run that was killed and resumed is therefore the run
that was not.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

from aura.errors import AuraError, Cancelled, UsageError
from aura.training.contract.checkpoint import (
    BEST,
    LATEST,
    CheckpointInfo,
    fill,
    has_checkpoint,
    read_info,
    read_state,
    save_checkpoint,
)
from aura.training.contract.distributed import Team
from aura.training.contract.feed import Feed
from aura.training.contract.judging import Judge, in_full, validate
from aura.training.contract.logs import LOG, RunLog
from aura.training.contract.losses import contract_loss
from aura.training.contract.schedule import build_optimiser, rate_factor, set_rates, trained
from aura.training.contract.settings import Pace, TrainSettings, differences
from aura.training.contract.stopping import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from pathlib import Path

    from aura.training.contract.network import ContractNetwork
    from aura.training.contract.samples import Batch, Source

    Hook = Callable[[str, float, float | None], None]

ALONE = Team()
AT_EASE = Pace()


@dataclass
class Progress:
    """How far a run has come; plain values, kept in the checkpoint.

    `epoch` whole epochs done, `batch` steps done in the present one, `step` steps done in all;
    `best` figures of the best epoch so far; `stale` epochs since; `sums` of the loss terms over the
    steps of the present epoch; `metrics` of the last validation.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FitResult:
    """How a run ended: epochs and steps done, figures of the best epoch, ended before its time."""

    epochs: int
    steps: int
    best: dict[str, float]
    early: bool


def fit(
    network: ContractNetwork,
    train_set: Source,
    val_set: Source,
    settings: TrainSettings,
    run_folder: Path,
    *,
    pace: Pace = AT_EASE,
    team: Team = ALONE,
    must_resume: bool = False,
    hook: Hook | None = None,
    tell: Callable[[str], None] | None = None,
) -> FitResult:
    """Train, or go on with what RUN/latest holds, to the last epoch or until nothing gets better.

    Writes RUN/best, RUN/latest, RUN/log.jsonl and RUN/tensorboard. Batches are `Windows`, or
    `Encoded` for a network whose encoders are frozen.

    Args:
        network: with its first weights. train_set, val_set: what to draw from.
        settings: what decides the result. pace: what does not. team: from `distributed.joined`.
        must_resume: refuse to begin anew. hook: progress. tell: one line for each epoch.

    Raises:
        UsageError: settings other than those that the run began with, or nothing to resume.
        WeightsError: a checkpoint that can't be read. AuraError: a loss that is not a number.
        Cancelled: Ctrl-C or SIGTERM; everything is kept.
    """
    trainer = _Trainer(network, (train_set, val_set), settings, run_folder, pace=pace, team=team)
    trainer.resume(must=must_resume)
    return trainer.run(hook or (lambda *_: None), tell or (lambda _: None))


class _Trainer:
    def __init__(
        self,
        network: ContractNetwork,
        sets: tuple[Source, Source],
        settings: TrainSettings,
        folder: Path,
        *,
        pace: Pace,
        team: Team,
    ) -> None:
        train_set, val_set = sets
        self.network, self.settings, self.pace, self.team = network, settings, pace, team
        self.train_set, self.val_set, self.folder = train_set, val_set, folder
        network.to(team.device)
        self.optimiser = build_optimiser(network, settings)
        self.progress = Progress()
        cuda = team.device.type == "cuda"
        self.amp = settings.amp == "on" or (settings.amp == "auto" and cuda)
        self.feed = Feed(train_set, pace.workers, pin=cuda)
        self.val_feed = Feed(val_set, pace.workers, pin=cuda)
        self.stop = StopRequest()
        # Steps of each epoch; together they stretch the cosine.
        self.lengths = [
            len(train_set.batches(epoch, settings.batch)) for epoch in range(settings.epochs)
        ]
        self.steps = sum(self.lengths)
        if not self.steps:
            raise UsageError("there is nothing to train on: the training set gives no batch")

    # -- beginning and going on

    def resume(self, *, must: bool) -> None:
        """Take up RUN/latest where there is one."""
        latest = self.folder / LATEST
        if not has_checkpoint(latest):
            if must:
                raise UsageError(f"there is no run to resume in {self.folder}: leave out --resume")
            known = (self.folder / LOG).exists() or (self.folder / f".{LATEST}.partial").exists()
            if self.folder.exists() and any(self.folder.iterdir()) and not known:
                raise UsageError(f"{self.folder} holds other files; name a new folder for the run")
            return
        info = read_info(latest)
        then = {"config": info.config.model_dump(mode="json"), "settings": info.training}
        now = {
            "config": self.network.config.model_dump(mode="json"),
            "settings": self.settings.model_dump(mode="json"),
        }
        changed = differences(
            {**then, "data": info.data_hash[:12]}, {**now, "data": self.train_set.data_hash[:12]}
        )
        if changed:
            raise UsageError(
                f"{self.folder} was begun with other settings: {'; '.join(changed[:4])}. Give "
                "those again to go on, or name a new folder"
            )
        state = read_state(latest)
        fill(self.network, latest, info)
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])

    def run(self, hook: Hook, tell: Callable[[str], None]) -> FitResult:
        """Train to the end."""
        began = self.progress.step
        if self._done() and began:
            tell(f"{self.folder} is trained to its end already")
            return self._result()
        forward: torch.nn.Module = Judge(self.network)
        if self.team.size > 1:
            forward = DistributedDataParallel(forward)
        if began:
            tell(f"going on after step {began} of {self.steps}")
        leads = self.team.leads
        if leads:
            self._make_folder()
        log = RunLog(self.folder, began, board=self.pace.tensorboard) if leads else nullcontext()
        with self.stop, log as lines:
            while not self._done():
                self._epoch(forward, lines, hook)
                self._validate(lines, hook, tell)
        return self._result()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{self.folder} can't be made ({error.strerror})") from error

    def _done(self) -> bool:
        past = self.progress
        return past.epoch >= self.settings.epochs or past.stale >= self.settings.early_stop

    def _result(self) -> FitResult:
        past = self.progress
        return FitResult(past.epoch, past.step, past.best, past.epoch < self.settings.epochs)

    # -- an epoch

    def _epoch(self, forward: torch.nn.Module, lines: RunLog | None, hook: Hook) -> None:
        past, settings = self.progress, self.settings
        plan = self.train_set.batches(past.epoch, settings.batch)[past.batch :]
        parts = self.feed.batches([own for keys in plan for own in self._own(keys)])
        stage = f"epoch {past.epoch + 1} of {settings.epochs}"
        length = self.lengths[past.epoch]
        self.network.train()
        for _ in plan:
            began = time.perf_counter()
            batches = [next(parts) for _ in range(settings.accumulate)]
            waited = time.perf_counter() - began
            rate = rate_factor(past.step, self.steps, settings.warmup_steps)
            set_rates(self.optimiser, rate)
            terms, norm, windows, stopped = self._step(forward, batches)
            past.step += 1
            past.batch += 1
            past.sums = {name: past.sums.get(name, 0.0) + value for name, value in terms.items()}
            hook(stage, past.batch, length)
            if lines is not None and past.step % self.pace.log_every == 0:
                seconds = time.perf_counter() - began
                lines.write(
                    "step",
                    past.step,
                    epoch=past.epoch + 1,
                    **terms,
                    gradient_norm=norm,
                    learning_rate=rate * settings.learning_rate,
                    seconds=round(seconds, 4),
                    waited=round(waited, 4),
                    windows_per_second=round(windows / seconds, 2),
                )
            if stopped or self._stopped_alone():
                self._give_up()
            every = self.pace.checkpoint_every
            # The last one of an epoch is written after its validation.
            if every and past.step % every == 0 and past.batch < length:
                self._save(LATEST)

    def _stopped_alone(self) -> bool:
        """Several processes have to agree on it, which they do at each step."""
        return self.stop.asked and self.team.size == 1

    def _own(self, keys: list[Hashable]) -> Iterator[list[Hashable]]:
        """This process's share of a step, in as many parts as are accumulated."""
        accumulate, size = self.settings.accumulate, self.team.size
        if len(keys) < size * accumulate:
            raise UsageError(
                f"a batch of {len(keys)} clips can't be shared by {size} processes with "
                f"{accumulate} parts each: enlarge --batch or accumulate less"
            )
        for part in range(accumulate):
            yield keys[self.team.rank * accumulate + part :: size * accumulate]

    def _step(
        self, forward: torch.nn.Module, batches: list[Batch]
    ) -> tuple[dict[str, float], float, int, bool]:
        """One optimiser step: loss terms, norm of the gradient, windows, asked to stop."""
        self.optimiser.zero_grad(set_to_none=True)
        total: dict[str, torch.Tensor] = {}
        for number, batch in enumerate(batches):
            self._seed(number)
            last = number == len(batches) - 1
            together = isinstance(forward, DistributedDataParallel) and not last
            with forward.no_sync() if together else nullcontext():  # type: ignore[operator]
                terms = self._loss(forward, batch)
                torch.autograd.backward(terms["total"] / len(batches))
            for name, term in terms.items():
                total[name] = total.get(name, 0.0) + term.detach() / len(batches)
        windows = sum(len(batch) for batch in batches)
        extra = [float(self.stop.asked), float(windows)]
        ours = torch.stack(list(total.values()))
        summed = self.team.add_up(torch.cat([ours, ours.new_tensor(extra)])).tolist()
        values = {name: v / self.team.size for name, v in zip(total, summed[:-2], strict=True)}
        self._check(values, values["total"], "the loss")
        limit = self.settings.gradient_clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(trained(self.optimiser), limit))
        self._check(values, norm, "the gradient")
        self.optimiser.step()
        return values, norm, int(summed[-1]), summed[-2] > 0

    def _loss(self, forward: torch.nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        moved = batch.to_device(self.team.device)
        with torch.autocast(self.team.device.type, torch.bfloat16, enabled=self.amp):
            outputs = forward(moved.inputs)
        weights = self.network.config.loss
        return contract_loss(in_full(outputs), moved.targets, weights, self.team.share)

    def _seed(self, part: int) -> None:
        """Dropout of a step and a part of it, another one in each process."""
        place = self.team.rank * self.settings.accumulate + part
        words = np.random.SeedSequence([self.settings.seed, self.progress.step, place])
        torch.manual_seed(int(words.generate_state(1)[0]))

    def _check(self, terms: dict[str, float], value: float, what: str) -> None:
        if math.isfinite(value):
            return
        kept = self.folder / LATEST
        where = f"{kept} is kept as it was" if has_checkpoint(kept) else "no checkpoint was written"
        bad = [name for name, one in terms.items() if not math.isfinite(one) and name != "total"]
        raise AuraError(
            f"{what} is not a finite number at step {self.progress.step + 1} (epoch "
            f"{self.progress.epoch + 1}{', in ' + ', '.join(bad) if bad else ''}); {where}: lower "
            "the learning rate, or train with --amp off, in a new folder"
        )

    # -- after an epoch

    def _validate(self, lines: RunLog | None, hook: Hook, tell: Callable[[str], None]) -> None:
        past = self.progress
        plan = self.val_set.batches(0, self.settings.batch)

        def proceed(done: int) -> bool:
            hook(f"validation {past.epoch + 1}", done, len(plan) / self.team.size)
            return not self._stopped_alone()

        figures = validate(
            self.network,
            self.val_feed,
            plan,
            self.team,
            size=self.settings.batch,
            amp=self.amp,
            proceed=proceed,
        )
        if figures is None:
            self._give_up()
            return
        better = self._better(figures)
        means = {f"train_{name}": value / past.batch for name, value in past.sums.items()}
        self.progress = past = Progress(
            epoch=past.epoch + 1,
            step=past.step,
            best={**figures, "epoch": past.epoch + 1} if better else past.best,
            stale=0 if better else past.stale + 1,
            metrics=figures,
        )
        if lines is not None:
            lines.write("epoch", past.step, epoch=past.epoch, best=better, **means, **figures)
        tell(
            f"epoch {past.epoch:>3} of {self.settings.epochs}: loss {means['train_total']:.4f}, "
            f"validation loss {figures['loss']:.4f}, AUC {figures['auc']:.3f}"
            f"{' (best so far)' if better else ''}"
        )
        if better:
            self._save(BEST)
        self._save(LATEST)

    def _better(self, figures: dict[str, float]) -> bool:
        """Whether the last epoch is the best; equal AUCs are told apart by the loss."""

        def merit(one: dict[str, float]) -> tuple[float, float]:
            by_loss = self.settings.select_by == "loss"
            return (0.0 if by_loss else one["auc"], -one["loss"])

        if not all(math.isfinite(value) for value in merit(figures)):
            raise AuraError(
                "the validation clips have one class only, or their scores are not finite: no "
                "checkpoint can be picked by them; add clips of the missing class, or select by "
                f"loss. {self.folder / LATEST} is kept as it was"
            )
        return not self.progress.best or merit(figures) > merit(self.progress.best)

    def _save(self, name: str) -> None:
        if not self.team.leads:
            return
        past = self.progress
        info = CheckpointInfo(
            config=self.network.config,
            training=self.settings.model_dump(mode="json"),
            data_hash=self.train_set.data_hash,
            epoch=past.epoch,
            step=past.step,
            metrics={name: v if math.isfinite(v) else None for name, v in past.metrics.items()},
        )
        state = {"optimiser": self.optimiser.state_dict(), "progress": asdict(past)}
        save_checkpoint(self.folder / name, self.network, info, state if name == LATEST else None)

    def _give_up(self) -> None:
        self._save(LATEST)
        raise Cancelled(
            f"stopped after step {self.progress.step} of {self.steps}; {self.folder / LATEST} has "
            f"everything: to go on, {self.pace.again}"
        )
