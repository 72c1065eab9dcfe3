"""Command line of the motion training; see the package's first lines."""

from __future__ import annotations

from pathlib import Path

from aura.training import linear
from aura.training.recipe import told
from aura.training.temporal import evaluate, export, prepare

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Run one step of the recipe."""
    parser = linear.parser("aura.training.temporal", __doc__, CONFIG)
    parser.add_argument("--part", default="0/1", help="of the clips to prepare, as in 0/2 and 1/2")
    told = linear.run(
        parser,
        prepare=lambda given: prepare.prepare(
            given.data, given.out, *(int(number) for number in given.part.split("/"))
        ),
        evaluate=evaluate.evaluate,
        train=export.train,
        export=export.export,
    )
    print(told)


if __name__ == "__main__":
    told(main)
