"""Where the time goes inside one analysis. Run as a process of its own; prints JSON.

The pipeline's parts are wrapped from outside and timed exclusively: what a part calls in another
part counts there. Decoding runs in a thread of its own, so its line is the time that the analysis
waited for it. Tracking and the detectors, which otherwise run side by side, take turns here: one
stopwatch can't time two threads.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections import defaultdict
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BEGAN = time.perf_counter()


class Stopwatch:
    """Exclusive times by name: entering a part stops the clock of the part around it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what happens inside."""
        self._turn()
        self._running.append(name)
        try:
            yield
        finally:
            self._turn()
            self._running.pop()

    def _turn(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            with self(name):
                return function(*args, **kwargs)

        return timed

    def wrap_steps(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function that returns a generator, each step of it timed."""

        def timed(*args: Any, **kwargs: Any) -> Iterator[Any]:
            steps = function(*args, **kwargs)
            try:
                while True:
                    with self(name):
                        try:
                            item = next(steps)
                        except StopIteration:
                            return
                    yield item
            finally:
                steps.close()

        return timed


class InTurn:
    """Stands for a pool of threads: does what it is given in the thread that gives it."""

    def __init__(self, *_: Any) -> None:
        pass

    def __enter__(self) -> InTurn:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """A future that is done."""
        done: Future[Any] = Future()
        done.set_result(function(*arguments))
        return done

    map = staticmethod(map)


def breakdown(path: str) -> dict[str, float]:
    """Analyse one file and return seconds by part, in the order in which they first ran."""
    watch = Stopwatch()
    with watch("imports"):
        from aura import faces, findings, media, pipeline, speech, subjects  # noqa: PLC0415
        from aura.detectors import registry  # noqa: PLC0415
        from aura.runtime import load_model  # noqa: PLC0415

    def open_detectors(*args: Any) -> Any:
        detectors = registry.open_detectors(*args)
        for detector in detectors:
            for method in ("observe", "conclude"):
                timed = watch.wrap(f"detector {detector.name}", getattr(detector, method))
                setattr(detector, method, timed)
        return detectors

    def in_turn(chunks: Any, **_: Any) -> Any:
        return chunks

    replaced: list[tuple[Any, str, Any]] = [
        (pipeline, "open_detectors", open_detectors),
        (pipeline, "run_ahead", in_turn),
        (pipeline, "ThreadPoolExecutor", InTurn),
    ]

    def replace(owner: Any, method: str, name: str, *, steps: bool = False) -> None:
        original = getattr(owner, method)
        timed = watch.wrap_steps(name, original) if steps else watch.wrap(name, original)
        replaced.append((owner, method, timed))

    replace(media, "probe", "probe and hash")
    replace(media, "decode", "waiting for the decoder", steps=True)
    replace(subjects.SubjectTracker, "follow", "tracking and mouth crops", steps=True)
    replace(subjects, "align", "face crops and quality")
    replace(subjects, "face_quality", "face crops and quality")
    replace(faces.FaceDetector, "detect", "face detection")
    replace(faces.FaceDetector, "detect_near", "face detection")
    replace(speech.SpeechDetector, "feed", "speech detection")
    replace(speech.SpeechDetector, "finish", "speech detection")
    replace(pipeline, "decide", "verdict and report")
    replace(findings, "build", "verdict and report")
    for module in [module for name, module in sys.modules.items() if name.startswith("aura.")]:
        if getattr(module, "load_model", None) is load_model:
            replace(module, "load_model", "loading models")
    with watch("everything else"):
        patches = [patch.object(owner, name, new) for owner, name, new in replaced]
        for one in patches:
            one.start()
        report = pipeline.analyze(path)
        with watch("verdict and report"):
            report.to_json()
    watch.seconds["whole analysis"] = time.perf_counter() - BEGAN
    return dict(watch.seconds)


if __name__ == "__main__":
    print(json.dumps(breakdown(sys.argv[1])))
