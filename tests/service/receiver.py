"""The example that receives callbacks, run as its own words say."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from servers import free_port, port_answers, wait_until

if TYPE_CHECKING:
    from typing import Any

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass
class Receiver:
    """A product's server on a port of its own; not running until it is started."""

    database_url: str
    secret: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}/api/detection_callback"

    def start(self) -> None:
        command = [sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES)]
        secrets = {"DATABASE_URL": self.database_url, "AURA_WEBHOOK_SECRET": self.secret}
        self.process = subprocess.Popen(
            [*command, "detection_callback:app", "--port", str(self.port), "--log-level=warning"],
            env={**os.environ, **secrets},
        )
        wait_until(lambda: port_answers(self.port), what="the receiver")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def rows(self) -> list[dict[str, Any]]:
        from psycopg.rows import dict_row

        with psycopg.connect(self.database_url, row_factory=dict_row) as connection:
            return connection.execute("SELECT * FROM detection_history ORDER BY id").fetchall()
