"""Command line of the motion training; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from aura.runtime import weights_dir
from aura.training.temporal import evaluate, export, prepare
from aura.training.temporal.fit import Network

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Run one step of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.temporal", description=__doc__)
    parser.add_argument("step", choices=["prepare", "evaluate", "train", "export"])
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--part", default="0/1", help="of the clips to prepare, as in 0/2 and 1/2")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    figures = arguments.out / "figures.json"
    if arguments.step == "export":
        with np.load(arguments.out / "temporal.npz") as kept:
            network = Network(
                kept["middle"],
                kept["spread"],
                float(kept["limit"]),
                kept["weights"],
                float(kept["bias"]),
            )
        found = json.loads(figures.read_text(encoding="utf-8"))
        print(f"wrote {export.export(network, found, config, weights_dir())}")
        return
    if arguments.data is None:
        parser.error(f"{arguments.step} needs --data or AURA_DATA")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.step == "prepare":
        part, parts = (int(number) for number in arguments.part.split("/"))
        done = prepare.prepare(arguments.data, arguments.out, part, parts)
        print(f"{len(done)} files in {arguments.out}")
    elif arguments.step == "evaluate":
        text = json.dumps(evaluate.evaluate(arguments.data, arguments.out, config), indent=2)
        figures.write_text(text + "\n", encoding="utf-8")
        print(text)
    else:
        print(f"wrote {export.train(arguments.data, arguments.out, config)}")


if __name__ == "__main__":
    main()
