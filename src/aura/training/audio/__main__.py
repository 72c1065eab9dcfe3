"""Command line of the voice training; see the package's first lines."""

from __future__ import annotations

from pathlib import Path

from aura.training import linear
from aura.training.audio import evaluate, export, prepare
from aura.training.recipe import told

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Run one step of the recipe."""
    parser = linear.parser("aura.training.audio", __doc__, CONFIG)
    told = linear.run(
        parser,
        prepare=lambda given: prepare.prepare(given.data, given.out),
        evaluate=evaluate.evaluate,
        train=export.train,
        export=export.export,
    )
    print(told)


if __name__ == "__main__":
    told(main)
