"""Command line of the visual training; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from aura.runtime import weights_dir
from aura.training.visual import crops, evaluate, export, generators, loop, network

CONFIG = Path(__file__).with_name("config.json")
STEPS = ("prepare", "generators", "train", "evaluate", "export")


def main() -> None:
    """Run one step of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.visual", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--run", default="run", help="name of this training below --out")
    parser.add_argument("--clips", type=Path, help="labelled clips; evaluate reads the real ones")
    parser.add_argument("--start", help="name of a finished run below --out to go on from")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--head", choices=network.HEADS, help="train this one only")
    arguments = parser.parse_args()
    run = arguments.out / arguments.run
    figures = run / "figures.json"
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    if arguments.step == "prepare":
        if arguments.data is None:
            parser.error("prepare needs --data or AURA_DATA")
        done = crops.prepare(arguments.data, arguments.out)
        print(f"{len(done.images)} aligned faces in {arguments.out}")
    elif arguments.step == "generators":
        for path in generators.train_all(arguments.out):
            print(f"wrote {path}")
    elif arguments.step == "evaluate":
        result = evaluate.evaluate(run, arguments.out, figures, arguments.clips)
        print(json.dumps(result, indent=2))
    elif arguments.step == "export":
        card = export.export(run, arguments.out, weights_dir(), figures)
        print(f"wrote {card}")
    else:
        for head in (arguments.head,) if arguments.head else network.HEADS:
            start = (
                export.mean_tail(arguments.out / arguments.start, head) if arguments.start else None
            )
            loop.train(arguments.out, run, head, config, start)


if __name__ == "__main__":
    main()
