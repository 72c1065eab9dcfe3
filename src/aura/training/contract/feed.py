"""Batches from a source, loaded ahead by other processes."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
from torch.utils.data import DataLoader, Dataset

from aura.errors import AuraError, InputError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from aura.training.contract.samples import Batch, Source


class _Failure(NamedTuple):
    """An error on its way from a loading process, which would else arrive as a traceback."""

    input_error: bool
    text: str


class _Guarded(Dataset[Any]):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.source[key]
        except AuraError as error:
            return _Failure(isinstance(error, InputError), str(error))

    def collate(self, items: list[Any]) -> Any:
        failed = [item for item in items if isinstance(item, _Failure)]
        return failed[0] if failed else self.source.collate(items)


class _Plan:
    """The batches to come; a sampler whose contents change from epoch to epoch."""

    def __init__(self) -> None:
        self.batches: list[list[Hashable]] = []

    def __iter__(self) -> Iterator[list[Hashable]]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


def _prepare_worker(_: int) -> None:
    # Ctrl-C goes to all processes of the terminal; the training process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)  # the processes are many enough, and its threads don't survive a fork


class Feed:
    """Loads what a plan names, in its order, whatever the number of processes.

    Args:
        source: where it comes from. workers: processes; 0 loads in this one.
        pin: put batches where a GPU can fetch them.
    """

    def __init__(self, source: Source, workers: int, *, pin: bool = False) -> None:
        guarded, self._plan = _Guarded(source), _Plan()
        self._loader = DataLoader(
            guarded,
            batch_sampler=self._plan,  # any iterable of lists will do
            collate_fn=guarded.collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=pin,
            worker_init_fn=_prepare_worker,
        )

    def batches(self, plan: list[list[Hashable]]) -> Iterator[Batch]:
        """The batches of a plan.

        Raises:
            AuraError: data that can't be read, or a loading process that was killed.
        """
        self._plan.batches = plan
        try:
            for batch in self._loader:
                if isinstance(batch, _Failure):
                    raise (InputError if batch.input_error else AuraError)(batch.text)
                yield batch
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise AuraError(
                "a process that loads data was killed, perhaps for lack of memory: resume with "
                "fewer --workers or a smaller --batch"
            ) from error
