"""The loop: one random row of every clip an epoch, the epoch with the best AUC on validation clips.

What happens at a step depends on (settings, data, step) alone, so a run that was stopped and goes
on is the run that was not.
"""

from __future__ import annotations

import math
import time
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from aura.background import run_ahead
from aura.errors import AuraError, Cancelled, UsageError
from aura.metrics import auc
from aura.training.contract.checkpoint import BEST, LATEST
from aura.training.contract.distributed import choose_device
from aura.training.contract.folders import standing
from aura.training.contract.logs import LOG, RunLog
from aura.training.contract.loop import FitResult, Progress
from aura.training.contract.schedule import rate_factor, set_rates, trained
from aura.training.contract.settings import Pace, differences
from aura.training.contract.stopping import StopRequest
from aura.training.videomae.kept import TOLD, read_state, write_model, write_state
from aura.training.videomae.rows import FaceRows
from aura.training.videomae.start import load_start, parameter_groups

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from aura.training.data.prepared import PreparedSet
    from aura.training.videomae.settings import TuneSettings

    Hook = Callable[[str, float, float | None], None]

AHEAD, AHEAD_BYTES = 2, 2**30  # batches that may wait
AT_EASE = Pace()


def tune(
    prepared: PreparedSet,
    start: Path,
    out: Path,
    settings: TuneSettings,
    *,
    pace: Pace = AT_EASE,
    must_resume: bool = False,
    hook: Hook | None = None,
    tell: Callable[[str], None] | None = None,
) -> FitResult:
    """Fine-tune, or go on with what RUN/latest holds, until nothing gets better.

    Writes RUN/best (`config.json`, `model.safetensors`, `preprocessor_config.json`, as
    transformers has them, and `tuning.json`: how it was made), RUN/latest and RUN/log.jsonl.

    Args:
        prepared: of `aura data prepare`, with splits `train` and `val`. start: folder of a
            checkpoint. out: the run's folder. settings: what decides the result. pace: what does
            not. must_resume: refuse to begin anew. hook: progress. tell: a line for each epoch.

    Raises:
        UsageError: settings other than those that the run began with, nothing to resume, or a
            folder with other files. InputError: a split lacks clips of a class.
        WeightsError: no VideoMAE in `start`. AuraError: a loss that is not a number.
        Cancelled: Ctrl-C or SIGTERM; everything is kept.
    """
    run = _Run(prepared, start, out, settings, pace)
    run.resume(must=must_resume)
    return run.train(hook or (lambda *_: None), tell or (lambda _: None))


class _Run:
    def __init__(
        self, prepared: PreparedSet, start: Path, out: Path, settings: TuneSettings, pace: Pace
    ) -> None:
        self.settings, self.pace, self.out = settings, pace, out
        self.device = choose_device(pace.device)
        torch.manual_seed(settings.seed)  # of the classifier's first weights
        self.start = load_start(start, settings.layers)
        self.splits = {
            name: FaceRows(prepared, name, self.start.shape) for name in ("train", "val")
        }
        self.network = self.start.network.to(self.device)
        self.learned = {k: v for k, v in self.start.model.named_parameters() if v.requires_grad}
        self.optimiser = torch.optim.AdamW(
            parameter_groups(self.start.model, settings), lr=settings.learning_rate
        )
        self.amp = settings.amp == "on" or (settings.amp == "auto" and self.device.type == "cuda")
        clips = self.splits["train"]
        # A class of few clips counts as much as the other.
        self.weight = torch.tensor((len(clips.rows) - clips.fakes) / clips.fakes)
        self.length = -(-len(clips.rows) // settings.batch)
        self.steps = self.length * settings.epochs
        self.progress, self.stop = Progress(), StopRequest()
        self.identity = {
            "settings": settings.model_dump(mode="json"),
            "start": self.start.sha256[:12],
            "data": prepared.data_hash[:12],
        }

    # -- beginning and going on

    def resume(self, *, must: bool) -> None:
        """Take up RUN/latest where there is one."""
        latest = standing(self.out / LATEST)
        if not (latest / TOLD).is_file():
            if must:
                raise UsageError(f"there is no run to resume in {self.out}: leave out --resume")
            known = (self.out / LOG).exists()
            if self.out.exists() and any(self.out.iterdir()) and not known:
                raise UsageError(f"{self.out} holds other files; name a new folder for the run")
            return
        identity, state = read_state(latest)
        if changed := differences(identity, self.identity):
            raise UsageError(
                f"{self.out} was begun with other settings: {'; '.join(changed[:4])}. Give those "
                "again to go on, or name a new folder"
            )
        for name, value in state["weights"].items():
            self.learned[name].data.copy_(value)
        self.optimiser.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])

    def _done(self) -> bool:
        past = self.progress
        return past.epoch >= self.settings.epochs or past.stale >= self.settings.early_stop

    def train(self, hook: Hook, tell: Callable[[str], None]) -> FitResult:
        """Train to the end."""
        began = self.progress.step
        if self._done():
            tell(f"{self.out} is trained to its end already")
        else:
            for name, one in self.splits.items():
                left = f", {one.left} left out" if one.left else ""
                tell(f"{name}: {len(one.rows)} clips, {one.fakes} of them fake{left}")
            if began:
                tell(f"going on after step {began} of {self.steps}")
            try:
                self.out.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UsageError(f"{self.out} can't be made ({error.strerror})") from error
            with self.stop, RunLog(self.out, began, board=self.pace.tensorboard) as lines:
                while not self._done():
                    self._epoch(lines, hook)
                    self._validate(lines, hook, tell)
        past = self.progress
        return FitResult(past.epoch, past.step, past.best, past.epoch < self.settings.epochs)

    # -- an epoch

    def _epoch(self, lines: RunLog, hook: Hook) -> None:
        past, settings = self.progress, self.settings
        self.network.train()
        batches = run_ahead(
            self.splits["train"].batches(past.epoch, past.batch, settings),
            max_items=AHEAD,
            max_bytes=AHEAD_BYTES,
            size_of=lambda one: one[0].nbytes,
            name="aura-faces",
        )
        with closing(batches):
            while past.batch < self.length:
                began = time.perf_counter()
                faces, answers = next(batches)
                waited = time.perf_counter() - began
                rate = rate_factor(past.step, self.steps, settings.warmup_steps)
                set_rates(self.optimiser, rate)
                loss = self._step(faces, answers)
                past.step, past.batch = past.step + 1, past.batch + 1
                past.sums = {"loss": past.sums.get("loss", 0.0) + loss}
                hook(f"epoch {past.epoch + 1} of {settings.epochs}", past.batch, self.length)
                if past.step % self.pace.log_every == 0:
                    lines.write(
                        "step",
                        past.step,
                        epoch=past.epoch + 1,
                        loss=loss,
                        learning_rate=rate * settings.learning_rate,
                        seconds=round(time.perf_counter() - began, 4),
                        waited=round(waited, 4),
                    )
                every = self.pace.checkpoint_every
                if self.stop.asked:
                    self._stopped()
                if every and past.step % every == 0 and past.batch < self.length:
                    self._keep()

    def _step(self, faces: NDArray[np.uint8], answers: list[int]) -> float:
        past = self.progress
        words = np.random.SeedSequence([self.settings.seed, past.step])
        torch.manual_seed(int(words.generate_state(1)[0]))  # dropout, where the encoder has any
        self.optimiser.zero_grad(set_to_none=True)
        wanted = torch.tensor(answers, dtype=torch.float32, device=self.device)
        loss = F.binary_cross_entropy_with_logits(
            self._logits(faces), wanted, pos_weight=self.weight.to(self.device)
        )
        torch.autograd.backward(loss)
        limit = self.settings.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(trained(self.optimiser), limit)
        value = float(loss.detach())
        if not math.isfinite(value + float(norm)):
            raise AuraError(
                f"the loss is not a finite number at step {past.step + 1}; lower the learning "
                "rate, or train with --amp off, in a new folder"
            )
        self.optimiser.step()
        return value

    def _logits(self, faces: NDArray[np.uint8]) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            logits: torch.Tensor = self.network(torch.from_numpy(faces).to(self.device))
        return logits.float()

    # -- after an epoch

    def _validate(self, lines: RunLog, hook: Hook, tell: Callable[[str], None]) -> None:
        past, clips = self.progress, self.splits["val"]
        labels, logits = [], []
        for done, index in enumerate(clips.rows):
            if self.stop.asked:
                self._stopped()
            labels.append(clips.clips.truth_of(index).visual)
            logits.append(self._of_clip(index))
            hook(f"validation {past.epoch + 1}", done + 1, len(clips.rows))
        reached = auc(labels, logits)
        wanted = torch.tensor(labels, dtype=torch.float32)
        loss = float(F.binary_cross_entropy_with_logits(torch.tensor(logits), wanted))
        figures = {"auc": reached, "loss": loss, "clips": float(len(labels))}
        before = past.best
        better = not before or (reached, -loss) > (before["auc"], -before["loss"])
        mean = past.sums["loss"] / self.length
        self.progress = past = Progress(
            epoch=past.epoch + 1,
            step=past.step,
            best={**figures, "epoch": past.epoch + 1.0} if better else before,
            stale=0 if better else past.stale + 1,
            metrics=figures,
        )
        lines.write("epoch", past.step, epoch=past.epoch, best=better, train_loss=mean, **figures)
        tell(
            f"epoch {past.epoch:>3} of {self.settings.epochs}: loss {mean:.4f}, validation loss "
            f"{loss:.4f}, AUC {reached:.3f}{' (best so far)' if better else ''}"
        )
        if better:
            write_model(self.out / BEST, self._told(), self.start)
        self._keep()

    @torch.no_grad()
    def _of_clip(self, index: int) -> float:
        """Mean logit over a clip's rows, as the detector takes it."""
        self.network.eval()
        clips = self.splits["val"]
        rows = (clips.load(index, row) for row in clips.rows[index])
        return float(np.mean([float(self._logits(row[None])[0]) for row in rows]))

    # -- what is written

    def _stopped(self) -> None:
        self._keep()
        raise Cancelled(
            f"stopped after step {self.progress.step} of {self.steps}; {self.out / LATEST} has "
            f"everything: to go on, {self.pace.again}"
        )

    def _keep(self) -> None:
        write_state(
            self.out / LATEST,
            self._told(),
            {
                "weights": {name: value.detach().cpu() for name, value in self.learned.items()},
                "optimiser": self.optimiser.state_dict(),
                "progress": asdict(self.progress),
            },
        )

    def _told(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "epoch": self.progress.epoch,
            "step": self.progress.step,
            "clips": {name: len(one.rows) for name, one in self.splits.items()},
            "left_out": {name: one.left for name, one in self.splits.items()},
            "validation": self.progress.metrics,
            "picked_by": "AUC on the validation clips, so it is too good: measure on others",
        }
