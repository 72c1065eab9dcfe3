"""Command line of the voice training; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import numpy as np

from aura.runtime import weights_dir
from aura.training.audio import evaluate, export, prepare
from aura.training.audio.fit import Network

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Run one step of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.audio", description=__doc__)
    parser.add_argument("step", choices=["prepare", "evaluate", "train", "export"])
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--config", type=Path, default=CONFIG)
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    figures = arguments.out / "figures.json"
    if arguments.step == "export":
        with np.load(arguments.out / "voice.npz") as kept:
            network = Network(
                kept["middle"],
                kept["spread"],
                float(kept["limit"]),
                kept["weights"],
                float(kept["bias"]),
            )
        print(f"wrote {export.export(network, figures, config, weights_dir())}")
        return
    if arguments.data is None:
        parser.error(f"{arguments.step} needs --data or AURA_DATA")
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.step == "prepare":
        print(f"{len(prepare.prepare(arguments.data, arguments.out))} files in {arguments.out}")
    elif arguments.step == "evaluate":
        text = json.dumps(evaluate.evaluate(arguments.data, arguments.out, config), indent=2)
        figures.write_text(text + "\n", encoding="utf-8")
        print(text)
    else:
        print(f"wrote {export.train(arguments.data, arguments.out, config)}")


if __name__ == "__main__":
    main()
