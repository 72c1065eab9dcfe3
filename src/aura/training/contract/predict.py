"""A checkpoint over clips of a prepared set, and over fakes made of them: predictions.

The clip's score is what the exported network gives: the mean of the logits of its windows,
calibrated. Windows in which nothing is seen or heard are left out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from aura.calibration import Calibration, sigmoid
from aura.errors import InputError
from aura.evaluation.clips import NO_SUBGROUP
from aura.evaluation.predictions import FoundSegment, Frame, Prediction, TrueSegment, Window
from aura.training.contract.dataset import MARGIN_SECONDS, PART_WINDOWS, STRETCH_SECONDS
from aura.training.contract.making import self_made
from aura.training.contract.network import Windows
from aura.training.contract.samples import Batch, collate, cut_sample
from aura.training.data.clip import UNKNOWN
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from aura.evaluation.predictions import Decision
    from aura.training.contract.network import ContractNetwork, Outputs
    from aura.training.contract.samples import Sample
    from aura.training.data.clip import Clip
    from aura.training.data.prepared import PreparedSet

    # Changes what was cut of a clip, which is told by name, before it becomes windows.
    ClipChange = Callable[[Clip, str], Clip]
    # Changes a batch, on the device, before it is judged.
    BatchChange = Callable[[ContractNetwork, Batch], Windows]

BATCH = 8  # windows at once
SURE_ENOUGH = 0.6  # contract: below this confidence the verdict is "uncertain"
MADE = "#"  # between a clip's path and what was made of it
CONTROL = "control of "  # the real partner of a self-made fake: the same treatment without the lie


class Case(NamedTuple):
    """What gets one prediction: a clip (`kind` empty), a fake made of it, or that one's control.

    `place` of the clip in the prepared set; `name` in the predictions.
    """

    place: int
    name: str
    kind: str
    fake: bool


@dataclass
class Condition:
    """Under what the network judges; the defaults change nothing.

    `window_seconds` None: those that it was trained with. `see`, `hear`, `move` switch off picture,
    sound and flow. `clip` and `batch` change what is judged.
    """

    window_seconds: float | None = None
    see: bool = True
    hear: bool = True
    move: bool = True
    clip: ClipChange | None = None
    batch: BatchChange | None = None


@dataclass
class _Judged:
    """What was found in the windows of one case so far."""

    windows: list[tuple[float, float, float, int]] = field(default_factory=list)
    frames: dict[float, tuple[list[float], int]] = field(default_factory=dict)
    disagreement: list[float] = field(default_factory=list)


def cases(prepared: PreparedSet, chosen: Sequence[int], kinds: Sequence[str]) -> list[Case]:
    """The clips, and with `kinds` of each real one every fake that can be made, with its control.

    Whether one can be made is found out when the clip is loaded.
    """
    found = []
    for index in chosen:
        row = prepared.rows[index]
        found.append(Case(index, row.path, "", bool(row.target)))
        if not row.target:
            for kind in kinds:
                found.append(Case(index, f"{row.path}{MADE}{kind}", kind, fake=True))
                found.append(Case(index, f"{row.path}{MADE}{CONTROL}{kind}", kind, fake=False))
    return found


class Predictor:
    """One network under one condition over the clips of a prepared set.

    Args:
        network: in evaluation mode, on `device`. calibration: of the clip's logit.
    """

    def __init__(
        self,
        network: ContractNetwork,
        prepared: PreparedSet,
        calibration: Calibration,
        device: torch.device,
        condition: Condition,
    ) -> None:
        self.network, self.prepared, self.calibration = network, prepared, calibration
        self.device, self.condition = device, condition
        seconds = condition.window_seconds or network.config.window_seconds
        self.config = network.config.model_copy(update={"window_seconds": seconds})
        self.sliding = SlidingWindows(seconds)

    def judge(self, case: Case, pool: Sequence[int]) -> Prediction | None:
        """What the network says of a case; None where this fake can't be made of the clip.

        Args:
            pool: clips of which another voice may be taken.

        Raises:
            InputError: the prepared clip can't be read.
        """
        judged = _Judged()
        clip = None
        for clip, starts in self._parts(case, pool):
            samples = [cut_sample(clip, case.place, case.kind, s, self.config) for s in starts]
            samples = [one for one in samples if _anything(one)]
            for first in range(0, len(samples), BATCH):
                self._note(judged, samples[first : first + BATCH])
        return None if clip is None else self._prediction(case, clip, judged)

    def _parts(self, case: Case, pool: Sequence[int]) -> Iterator[tuple[Clip, list[float]]]:
        """The case's clip, a stretch at a time, each with the starts of its windows."""
        if case.kind:
            made = self._made(case, pool)
            if made is not None:
                clip = self._changed(made, case)
                yield clip, [start for start, _ in self.sliding.spans(*clip.span)]
            return
        starts = [start for start, _ in self.sliding.spans(*self.prepared.span_of(case.place))]
        for first in range(0, len(starts), PART_WINDOWS):
            part = starts[first : first + PART_WINDOWS]
            last = part[-1] + self.sliding.seconds
            clip = self.prepared.load(case.place, (part[0] - MARGIN_SECONDS, last + MARGIN_SECONDS))
            yield self._changed(clip, case), part

    def _changed(self, clip: Clip, case: Case) -> Clip:
        return self.condition.clip(clip, case.name) if self.condition.clip else clip

    def _made(self, case: Case, pool: Sequence[int]) -> Clip | None:
        """A fake, or its control, of the middle of a clip; the same one each time."""
        making = self_made()
        clip = self.prepared.load(case.place, self._middle(case.place))
        random = np.random.default_rng(zlib.crc32(f"{clip.row.path}{MADE}{case.kind}".encode()))
        donor = self._donor(case.place, pool, random) if case.kind == "swap" else None
        if case.kind == "swap" and donor is None:
            return None
        if not making.applicable(case.kind, clip, donor):
            return None
        make = making.make_pair if case.fake else making.make_control
        return make(case.kind, clip, random, donor, motion=self.config.enable_motion)

    def _middle(self, index: int) -> tuple[float, float]:
        start, end = self.prepared.span_of(index)
        step = 1 / self.prepared.fps_of(index)
        first = start + step * round(max(0.0, end - start - STRETCH_SECONDS) / 2 / step)
        return first, min(end, first + STRETCH_SECONDS)

    def _donor(self, index: int, pool: Sequence[int], random: np.random.Generator) -> Clip | None:
        """A real clip with sound, of other people and other content."""
        own = self.prepared.rows[index]
        for place in random.permutation(len(pool)):
            row = self.prepared.rows[pool[int(place)]]
            known = set(own.identities) & set(row.identities)
            if (
                row.target
                or known
                or row.path == own.path
                or (own.group and own.group == row.group)
            ):
                continue
            clip = self.prepared.load(pool[int(place)], self._middle(pool[int(place)]))
            if clip.has_sound:
                return clip
        return None

    def _note(self, judged: _Judged, samples: Sequence[Sample]) -> None:
        batch = collate(samples).to_device(self.device)
        inputs = switched(Windows(*batch.inputs), self.condition)
        if self.condition.batch is not None:
            switched_batch = Batch(inputs, batch.targets, batch.origins)
            inputs = self.condition.batch(self.network, switched_batch)
        with torch.inference_mode():
            found: Outputs = self.network(*inputs)
        logits = (found.logits[:, 1] - found.logits[:, 0]).double().tolist()
        if not np.isfinite(logits).all():
            raise InputError(
                f"the network gives no number for a window of {samples[0].origin.path}; these "
                "weights are broken, so nothing is measured"
            )
        counted = (found.has_video | found.has_audio).tolist()
        both = (found.has_video & found.has_audio).tolist()
        apart = found.disagreement.sigmoid().tolist()
        frames, seen = found.frame_scores.sigmoid().tolist(), found.frame_mask.tolist()
        for i, sample in enumerate(samples):
            origin, label = sample.origin, int(sample.targets[0])
            if counted[i]:
                judged.windows.append((origin.start, origin.end, logits[i], label))
            if both[i]:
                judged.disagreement.append(apart[i])
            for time, score, there, answer in zip(
                origin.times, frames[i], seen[i], sample.targets[4].tolist(), strict=True
            ):
                if there:
                    judged.frames.setdefault(time, ([], answer))[0].append(score)

    def _prediction(self, case: Case, clip: Clip, judged: _Judged) -> Prediction:
        row, truth = clip.row, clip.truth
        score = logit = None
        if judged.windows:
            mean = float(np.mean([one[2] for one in judged.windows]))
            logit = float(self.calibration.logits(mean))
            score = float(sigmoid(logit))
        windows = tuple(
            Window(start, end, float(self.calibration.probability(raw)), known(label))
            for start, end, raw, label in judged.windows
        )
        spans = truth.spans if truth.label == 1 else None
        method = (case.kind if case.fake else CONTROL + case.kind) if case.kind else row.method
        return Prediction(
            path=case.name,
            label=truth.label,
            visual=known(truth.visual),
            audio=known(truth.audio),
            method=method or row.label,
            source=row.source,
            group=row.group,
            identity=row.identity,
            split=row.split,
            sha256="" if case.kind else row.sha256,
            subgroups={k: v for k, v in row.extra.items() if v and k not in NO_SUBGROUP},
            score=score,
            logit=logit,
            decision=decision(score),
            windows=windows,
            frames=tuple(
                Frame(time, float(np.mean(scores)), known(answer))
                for time, (scores, answer) in sorted(judged.frames.items())
            ),
            segments_true=None
            if spans is None
            else tuple(TrueSegment(one.modality, one.start, one.end) for one in spans),
            segments_found=found_segments(windows, self.sliding.step),
            disagreement=float(np.mean(judged.disagreement)) if judged.disagreement else None,
        )


def switched(windows: Windows, condition: Condition) -> Windows:
    """Windows with picture, sound or flow hidden as the condition says."""
    if not condition.see:
        windows = windows._replace(frame_mask=torch.zeros_like(windows.frame_mask))
    if not condition.hear:
        windows = windows._replace(speech_mask=torch.zeros_like(windows.speech_mask))
    if not condition.move:
        windows = windows._replace(motion=torch.zeros_like(windows.motion))
    return windows


def found_segments(windows: Sequence[Window], step: float) -> tuple[FoundSegment, ...]:
    """Stretches that are called fake: steps in which the covering windows' mean reaches 0.5.

    Args:
        windows: in the order of time. step: seconds from one window to the next.

    >>> found_segments([Window(0, 1, 0.9, None), Window(0.5, 1.5, 0.2, None)], 0.5)
    (FoundSegment(modality='any', start=0.0, end=1.0, score=0.725),)
    """
    if not windows:
        return ()
    origin = windows[0].start
    cells: dict[int, list[float]] = {}
    for one in windows:
        first = round((one.start - origin) / step)
        for cell in range(first, max(first + 1, round((one.end - origin) / step))):
            cells.setdefault(cell, []).append(one.score)
    found: list[tuple[int, int, list[float]]] = []
    for cell, scores in sorted(cells.items()):
        mean = float(np.mean(scores))
        if mean < 0.5:
            continue
        if found and found[-1][1] == cell:
            found[-1] = (found[-1][0], cell + 1, [*found[-1][2], mean])
        else:
            found.append((cell, cell + 1, [mean]))
    return tuple(
        FoundSegment(
            "any",
            float(origin + first * step),
            float(min(origin + last * step, windows[-1].end)),
            float(np.mean(scores)),
        )
        for first, last, scores in found
    )


def decision(score: float | None) -> Decision:
    """The contract's verdict on a clip.

    >>> decision(0.95), decision(0.55), decision(None)
    ('fake', 'uncertain', 'uncertain')
    """
    if score is None or max(score, 1 - score) < SURE_ENOUGH:
        return "uncertain"
    return "fake" if score >= 0.5 else "real"


def known(label: int) -> int | None:
    """A label, None where nobody gave one."""
    return None if label == UNKNOWN else int(label)


def _anything(sample: Sample) -> bool:
    return bool(sample.window.frame_mask.any() or sample.window.speech_mask.any())
