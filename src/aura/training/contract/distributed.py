"""Several processes that train one network: started by torchrun, each with its share of a batch."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from aura.errors import AuraError
from aura.training.contract.losses import Share

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

WAIT_VARIABLE = "AURA_TRAIN_WAIT"
WAIT_SECONDS = 600  # for the other processes in one exchange; loading data may be slow
CPU = torch.device("cpu")


class LostPartner(AuraError):
    """Another process of this training died or no longer answers."""


def end_at_once() -> None:
    """Leave without tidying up, once `LostPartner` was told: at the end of a process, by `atexit`.

    Threads and destructors of the exchange may wait for who is gone, one timeout after the other,
    and processes that load data hold the terminal meanwhile.
    """
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(LostPartner.exit_code)


@dataclass(frozen=True)
class Team:
    """This process among those that train together; alone it has nobody to exchange with."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def add_up(self, values: Tensor) -> Tensor:
        """Sums over all processes."""
        if self.size > 1:
            values = values.detach().clone()
            dist.all_reduce(values)
        return values

    def gather(self, value: Any) -> list[Any]:
        """What each process has, in the order of their ranks; plain values and arrays."""
        if self.size == 1:
            return [value]
        everything: list[Any] = [None] * self.size
        dist.all_gather_object(everything, value)
        return everything

    @property
    def share(self) -> Share | None:
        """For the loss: how counts are added up; None alone."""
        return Share(self.add_up, self.size) if self.size > 1 else None


def choose_device(device: str, local_rank: int = 0) -> torch.device:
    """`auto`, `cpu` or `cuda` to a device of PyTorch.

    Raises:
        AuraError: cuda where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise AuraError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")
    if device == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", local_rank)


@contextlib.contextmanager
def joined(device: str) -> Iterator[Team]:
    """Join the processes that torchrun started, or go alone; leave them in the end.

    A process that dies takes the others with it within `WAIT_SECONDS`, or what the environment
    variable AURA_TRAIN_WAIT says.

    Raises:
        LostPartner: another process died or no longer answers.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    chosen = choose_device(device, int(os.environ.get("LOCAL_RANK", "0")))
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    if size == 1:
        yield Team(device=chosen)
        return
    seconds = float(os.environ.get(WAIT_VARIABLE, WAIT_SECONDS))
    backend = "nccl" if chosen.type == "cuda" else "gloo"
    lost = False
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=seconds))
        yield Team(dist.get_rank(), size, chosen)
    except (dist.DistError, RuntimeError) as error:
        if not _about_others(error):
            raise
        lost = True
        raise LostPartner(
            "another process of this training died or no longer answers; see its own message, then "
            "start the same command again to go on from the last checkpoint"
        ) from error
    finally:
        if dist.is_initialized() and not lost:  # it would wait for who is gone
            dist.destroy_process_group()


def _about_others(error: RuntimeError) -> bool:
    if isinstance(error, dist.DistError):
        return True
    words = ("gloo", "Connection closed by peer", "Connection reset", "Timed out", "NCCL")
    return any(word in str(error) for word in words)
