"""Command line of the visual training; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from aura.training.visual import crops, loop

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Run one step of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.visual", description=__doc__)
    parser.add_argument("step", choices=["prepare", "train"])
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--run", default="run", help="name of this training below --out")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--from", dest="start_from", type=Path, help="checkpoint to begin with")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    if arguments.step == "prepare":
        if arguments.data is None:
            parser.error("prepare needs --data or AURA_DATA")
        done = crops.prepare(arguments.data, arguments.out)
        print(f"{len(done.images)} aligned faces in {arguments.out}")  # noqa: T201
    else:
        loop.train(arguments.out, arguments.out / arguments.run, config, arguments.start_from)


if __name__ == "__main__":
    main()
