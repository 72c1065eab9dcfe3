"""Workers on Modal's GPUs: `modal deploy -m aura.integrations.modal_app`.

A third dispatcher beside the embedded workers and Celery: the API spawns a call for each job, the
container there claims one from the table and calls the same `run_job`, which writes the result into
the database. Nothing hangs on what Modal keeps of a call: a lost one costs a delay until the sweep
rings again, a doubled one finds nothing to do.

Read when this module is deployed (and each time a container starts):

    AURA_MODAL_APP         name of the app (aura)
    AURA_MODAL_GPU         L4; `none` for a CPU, which profile lite needs no more than
    AURA_MODAL_CONTAINERS  at most so many at once (10)
    AURA_MODAL_IDLE        seconds that one waits for more work before it ends (60)
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import modal

from aura import __version__
from aura.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.service.settings import Settings

APP = os.environ.get("AURA_MODAL_APP", "aura")
GPU = os.environ.get("AURA_MODAL_GPU", "L4")
CONTAINERS = int(os.environ.get("AURA_MODAL_CONTAINERS", "10"))
IDLE_SECONDS = int(os.environ.get("AURA_MODAL_IDLE", "60"))
WORKER = "Worker"
WEIGHTS = "/aura"  # AURA_HOME in the container, in the volume: what was pulled and promoted
DATA = Path("/tmp/aura-data")  # noqa: S108 - scratch space of one container, gone with it
# Seconds. Above every deadline of a job (`hard_deadline` grows with the clip), so that a job is
# ended by its own clock, which tells its user why.
TIMEOUT = 3600
START_TIMEOUT = 600
CPU, MEMORY_MIB = 2.0, 4096  # one job at a time needs no more; see docs/benchmarks.md

extras = "service,supabase" if GPU == "none" else "service,supabase,gpu"
image = (
    modal.Image.debian_slim(python_version="3.11")
    .pip_install(f"aura-veracity[{extras}]=={__version__}", "modal")
    .env({"AURA_HOME": WEIGHTS, "OMP_NUM_THREADS": str(int(CPU))})
    .env({f"AURA_MODAL_{name}": value for name, value in (("APP", APP), ("GPU", GPU))})
)
app = modal.App(APP)
weights = modal.Volume.from_name("aura-weights", create_if_missing=True)
# AURA_DATABASE_URL, AURA_STORAGE_URL, AURA_SECRET and the store's keys:
# `modal secret create aura AURA_DATABASE_URL=... ...`
secret = modal.Secret.from_name("aura")


@app.cls(
    image=image,
    gpu=None if GPU == "none" else GPU,
    cpu=CPU,
    memory=MEMORY_MIB,
    volumes={WEIGHTS: weights},
    secrets=[secret],
    timeout=TIMEOUT,
    startup_timeout=START_TIMEOUT,
    max_containers=CONTAINERS,
    scaledown_window=IDLE_SECONDS,
    # One call at a time in a container: a job fills its processors, and memory limits hold for
    # one. More at once is more containers.
)
class Worker:
    """One container: the networks are loaded as it starts, then it does a job for each call."""

    @modal.enter()
    def start(self) -> None:
        """Connect to database and store, load what the default profile needs."""
        from aura.service.context import Service  # noqa: PLC0415 - the image has it, the
        from aura.service.logs import configure_logs  # noqa: PLC0415 - deploying machine need not
        from aura.service.settings import read_settings  # noqa: PLC0415
        from aura.service.work import warm_up  # noqa: PLC0415

        configure_logs()
        settings = read_settings(data_dir=DATA)
        check_settings(settings)
        self.stopping = threading.Event()
        self.service = Service(settings)
        warm_up()

    @modal.method()
    def run(self, job_id: str) -> str | None:
        """One bell: do one job; which is the table's to say. Returns the id of the one done."""
        from aura.service.work import run_job  # noqa: PLC0415 - as above

        del job_id
        done = run_job(self.service, stopping=self.stopping)
        return None if done is None else done.id

    @modal.exit()
    def stop(self) -> None:
        """The container ends: a job that is under way goes back into the queue."""
        self.stopping.set()
        self.service.close()


class ModalBell:
    """Spawns a call for each job (AURA_DISPATCHER=modal); needs the token of `modal setup`."""

    def __init__(self, app_name: str = APP) -> None:
        self._app_name = app_name

    def ring(self, job_ids: Sequence[str]) -> None:
        """Spawn them; raises what Modal's client raises."""
        worker: Any = modal.Cls.from_name(self._app_name, WORKER)()
        for job_id in job_ids:
            worker.run.spawn(job_id)


def check_settings(settings: Settings) -> None:
    """Refuse what workers elsewhere could not reach.

    Raises:
        UsageError: database or storage are on this machine.
    """
    missing = [
        name
        for name, value in (
            ("AURA_DATABASE_URL", settings.database_url),
            ("AURA_STORAGE_URL", settings.storage_url),
        )
        if not value
    ]
    if missing:
        raise UsageError(
            f"workers on Modal reach nothing on this machine: set {' and '.join(missing)}"
        )


@app.function(image=image, volumes={WEIGHTS: weights}, timeout=TIMEOUT)
def pull(profile: str) -> None:
    """Put a profile's weights into the volume: `modal run -m aura.integrations.modal_app::pull`."""
    import subprocess  # noqa: PLC0415 - runs there

    subprocess.run(["aura", "weights", "pull", profile], check=True)  # noqa: S603, S607
    weights.commit()
