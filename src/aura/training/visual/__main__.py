"""Command line of the visual training; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from aura.runtime import weights_dir
from aura.training.recipe import told
from aura.training.visual import crops, evaluate, export, loop
from aura.training.visual.generator_training import train_generators
from aura.training.visual.generators import RECIPES
from aura.training.visual.network import HEADS

CONFIG = Path(__file__).with_name("config.json")
STEPS = ("prepare", "generators", "train", "mean", "convert", "evaluate", "export")


def main() -> None:
    """Run one step of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.visual", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--run", default="run", help="name of this training below --out")
    parser.add_argument("--clips", type=Path, help="labelled clips; evaluate reads the real ones")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--names", nargs="+", help="of generators or networks; default: all")
    parser.add_argument("--start", type=Path, help="average.pt to train on instead of ImageNet's")
    parser.add_argument("--of", type=Path, nargs="+", help="mean: average.pt of which to take it")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=HEADS, help="mean: of which")
    parser.add_argument("--network", help="convert and on: which network of the run")
    parser.add_argument("--against", type=Path, help="evaluate: an ONNX file to compare with")
    parser.add_argument("--share", type=float, default=1.0, help="of each generator's training")
    parser.add_argument("--limit", type=int, help="photos that each generator draws")
    parser.add_argument("--seconds", type=float, help="of training, instead of the config's")
    arguments = parser.parse_args()
    run = arguments.out / arguments.run
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    if arguments.step == "prepare":
        if arguments.data is None:
            parser.error("prepare needs --data or AURA_DATA")
        done = crops.prepare(arguments.data, arguments.out)
        print(f"{len(done.images)} aligned faces in {arguments.out}")
    elif arguments.step == "generators":
        wanted = arguments.names or list(RECIPES)
        train_generators(arguments.out, wanted, arguments.device, arguments.share, arguments.limit)
    elif arguments.step == "train":
        if arguments.seconds is not None:
            config["seconds"] = arguments.seconds
        if arguments.start is not None:
            config["start"] = str(arguments.start)
        wanted = arguments.names or list(config["networks"])
        loop.train(arguments.out, run, wanted, config, arguments.device)
    elif arguments.step == "mean":
        if not arguments.of:
            parser.error("mean needs --of FILE FILE ...")
        print(f"wrote {export.mean_weights(arguments.of, run / 'mean', arguments.heads)}")
    else:
        network = run / (arguments.network or next(iter(config["networks"])))
        _finish(arguments, network, network / "figures.json")


def _finish(arguments: argparse.Namespace, network: Path, figures: Path) -> None:
    """Measure a trained network, or make weights of it."""
    if arguments.step == "convert":
        print(f"wrote {export.convert(network, arguments.out)}")
    elif arguments.step == "evaluate":
        result = evaluate.evaluate(
            network, arguments.out, figures, arguments.clips, arguments.against
        )
        print(json.dumps(result, indent=2))
    else:
        print(f"wrote {export.export(network, arguments.out, weights_dir(), figures)}")


if __name__ == "__main__":
    told(main)
