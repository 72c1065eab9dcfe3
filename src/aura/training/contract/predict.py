"""A checkpoint over clips of a prepared set, and over fakes made of them: predictions.

The clip's score is what the exported network gives: the mean of the logits of its windows,
calibrated. Windows in which nothing is seen or heard are left out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch

from aura.calibration import Calibration, sigmoid
from aura.errors import InputError
from aura.evaluation.clips import NO_SUBGROUP
from aura.evaluation.predictions import FoundSegment, Frame, Prediction, TrueSegment, Window
from aura.training.contract.aggregate import LEARNED, clip_score
from aura.training.contract.cases import CONTROL, CaseClips
from aura.training.contract.certainty import dropout_passes, interval_of
from aura.training.contract.known_faces import KnownFaces
from aura.training.contract.network import Windows
from aura.training.contract.samples import Batch, collate, cut_sample
from aura.training.data.clip import UNKNOWN
from aura.windows import SlidingWindows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor, nn

    from aura.evaluation.predictions import Decision
    from aura.training.contract.cases import Case
    from aura.training.contract.network import ContractNetwork, Encoded, Look
    from aura.training.contract.samples import Sample
    from aura.training.data.clip import Clip
    from aura.training.data.prepared import PreparedSet

    # Changes what was cut of a clip, which is told by name, before it becomes windows.
    ClipChange = Callable[[Clip, str], Clip]
    # Changes a batch before it is judged; its pictures are uint8 on the CPU.
    BatchChange = Callable[[ContractNetwork, Batch, Look], Windows]

BATCH = 8  # windows at once
SURE_ENOUGH = 0.6  # contract: below this confidence the verdict is "uncertain"
LOGITS = "logits"  # the aggregation of the exported network: the mean of the windows' logits


@dataclass(frozen=True)
class Condition:
    """Under what the network judges; the defaults change nothing.

    `window_seconds` None: those that it was trained with. `see`, `hear`, `move` switch off picture,
    sound and flow. `aggregation` of the windows, `LOGITS` or one of `aggregate.METHODS`. `passes`
    with dropout on give the interval; 0 gives none. `few` windows of a clip alone; 0 takes all.
    `clip` and `batch` change what is judged.
    """

    window_seconds: float | None = None
    see: bool = True
    hear: bool = True
    move: bool = True
    aggregation: str = LOGITS
    passes: int = 0
    few: int = 0
    clip: ClipChange | None = None
    batch: BatchChange | None = None

    @property
    def shown(self) -> tuple[object, ...]:
        """What the encoders get; conditions that agree in it are encoded once."""
        return self.window_seconds, self.few, self.clip, self.batch


@dataclass
class _Judged:
    """What was found in the windows of one case so far."""

    windows: list[tuple[float, float, float, int]] = field(default_factory=list)
    frames: dict[float, tuple[list[float], int]] = field(default_factory=dict)
    disagreement: list[float] = field(default_factory=list)
    joint: list[Tensor] = field(default_factory=list)
    passes: list[Tensor] = field(default_factory=list)


class Predictor:
    """One network over the clips of a prepared set, under one condition after another.

    Args:
        network: in evaluation mode, on `device`. pool: clips of which another voice may be taken.
        calibration: of the clip's logit. aggregators: learned ones, by name, on the CPU.
    """

    def __init__(
        self,
        network: ContractNetwork,
        prepared: PreparedSet,
        pool: Sequence[int],
        *,
        calibration: Calibration,
        device: torch.device,
        aggregators: Mapping[str, nn.Module] | None = None,
    ) -> None:
        self.network, self.calibration, self.device = network, calibration, device
        self.aggregators = aggregators or {}
        self.clips = CaseClips(prepared, pool, motion=network.config.enable_motion)
        self.look = KnownFaces(network)

    def judge(
        self, case: Case, conditions: Iterable[Condition] = (Condition(),)
    ) -> Iterator[tuple[int, Prediction]]:
        """What the network says of a case: the place of each condition and the prediction.

        Neighbours that show the encoders the same are encoded once; a face is, whatever follows.
        Nothing comes of a fake that can't be made of the clip.

        Raises:
            InputError: the prepared clip can't be read, or the network gives no numbers.
        """
        numbered = list(enumerate(conditions))
        self.look.forget()  # another case shows other faces
        for _, alike in groupby(numbered, key=lambda one: one[1].shown):
            yield from self._judge(case, list(alike))

    def _judge(
        self, case: Case, alike: Sequence[tuple[int, Condition]]
    ) -> Iterator[tuple[int, Prediction]]:
        """Conditions that show the encoders the same."""
        first = alike[0][1]
        seconds = first.window_seconds or self.network.config.window_seconds
        config = self.network.config.model_copy(update={"window_seconds": seconds})
        sliding = SlidingWindows(seconds)
        judged = [_Judged() for _ in alike]
        clip = None
        for loaded, starts in self.clips.parts(case, sliding, first.few):
            clip = first.clip(loaded, case.name) if first.clip else loaded
            samples = [cut_sample(clip, case.place, case.kind, s, config) for s in starts]
            samples = [one for one in samples if _anything(one)]
            for place in range(0, len(samples), BATCH):
                some = samples[place : place + BATCH]
                encoded = self._encoded(some, first)
                for (_, condition), noted in zip(alike, judged, strict=True):
                    self._note(noted, some, switched(encoded, condition, self.network), condition)
        if clip is None:
            return
        for (number, condition), noted in zip(alike, judged, strict=True):
            yield number, self._prediction(case, clip, noted, condition, sliding.step)

    def _encoded(self, samples: Sequence[Sample], condition: Condition) -> Encoded:
        batch = collate(samples)
        frames, *others = batch.inputs
        windows = Windows(frames, *(value.to(self.device) for value in others))
        if condition.batch is not None:
            batch = Batch(windows, batch.targets, batch.origins)
            windows = condition.batch(self.network, batch, self.look)
        with torch.no_grad():
            return self.network.encode(windows, self.look)

    def _note(
        self,
        judged: _Judged,
        samples: Sequence[Sample],
        encoded: Encoded,
        condition: Condition,
    ) -> None:
        with torch.no_grad():
            found = self.network.decide(encoded)
        logits = (found.logits[:, 1] - found.logits[:, 0]).double().tolist()
        if not np.isfinite(logits).all():
            raise InputError(
                f"the network gives no number for a window of {samples[0].origin.path}; these "
                "weights are broken, so nothing is measured"
            )
        counted = found.has_video | found.has_audio
        both = (found.has_video & found.has_audio).tolist()
        apart = found.disagreement.sigmoid().tolist()
        frames, seen = found.frame_scores.sigmoid().tolist(), found.frame_mask.tolist()
        for i, (sample, counts) in enumerate(zip(samples, counted.tolist(), strict=True)):
            origin, label = sample.origin, int(sample.targets[0])
            if counts:
                judged.windows.append((origin.start, origin.end, logits[i], label))
            if both[i]:
                judged.disagreement.append(apart[i])
            for time, score, there, answer in zip(
                origin.times, frames[i], seen[i], sample.targets[4].tolist(), strict=True
            ):
                if there:
                    judged.frames.setdefault(time, ([], answer))[0].append(score)
        if condition.aggregation in LEARNED:
            judged.joint.append(found.joint[counted].cpu())
        if condition.passes:
            seed = zlib.crc32(samples[0].origin.path.encode())
            passes = dropout_passes(self.network, encoded, condition.passes, seed)
            judged.passes.append(passes[:, counted].cpu())

    def _prediction(
        self, case: Case, clip: Clip, judged: _Judged, condition: Condition, step: float
    ) -> Prediction:
        row, truth = clip.row, clip.truth
        windows = tuple(
            Window(start, end, float(self.calibration.probability(raw)), known(label))
            for start, end, raw, label in judged.windows
        )
        score, logit = self._score(judged, windows, condition)
        interval = None
        if judged.windows and judged.passes:
            raw = torch.cat(judged.passes, dim=1).double().mean(dim=1).numpy()
            interval = interval_of(self.calibration.probability(raw))
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
            interval=interval,
            decision=decision(score),
            windows=windows,
            frames=tuple(
                Frame(time, float(np.mean(scores)), known(answer))
                for time, (scores, answer) in sorted(judged.frames.items())
            ),
            segments_true=None
            if spans is None
            else tuple(TrueSegment(one.modality, one.start, one.end) for one in spans),
            segments_found=found_segments(windows, step),
            disagreement=float(np.mean(judged.disagreement)) if judged.disagreement else None,
        )

    def _score(
        self, judged: _Judged, windows: Sequence[Window], condition: Condition
    ) -> tuple[float | None, float | None]:
        """P(fake) of the clip and its calibrated logit, where there is one."""
        if not windows:
            return None, None
        if condition.aggregation == LOGITS:
            mean = float(np.mean([one[2] for one in judged.windows]))
            logit = float(self.calibration.logits(mean))
            return float(sigmoid(logit)), logit
        scores = [one.score for one in windows]
        joint = torch.cat(judged.joint) if judged.joint else None
        trained = self.aggregators.get(condition.aggregation)
        return clip_score(condition.aggregation, scores, joint, trained), None


def switched(encoded: Encoded, condition: Condition, network: ContractNetwork) -> Encoded:
    """What the encoders made, with picture, sound or flow hidden as the condition says."""
    if not condition.see:
        encoded = encoded._replace(frame_mask=torch.zeros_like(encoded.frame_mask))
    if not condition.hear:
        encoded = encoded._replace(speech_mask=torch.zeros_like(encoded.speech_mask))
    if not condition.move and network.config.enable_motion:
        still = encoded.appearance.clone()
        still[..., network.config.appearance.width :] = 0
        encoded = encoded._replace(appearance=still)
    return encoded


def found_segments(windows: Sequence[Window], step: float) -> tuple[FoundSegment, ...]:
    """Stretches that are called fake: steps in which the covering windows' mean reaches 0.5.

    Args:
        windows: in the order of time. step: seconds from one window to the next.

    >>> found_segments([Window(0, 1, 1.0, None), Window(0.5, 1.5, 0.0, None)], 0.5)
    (FoundSegment(modality='any', start=0.0, end=1.0, score=0.75),)
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
