"""Command line of the card; see the package's first lines."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from aura.evaluation import labelled_clips
from aura.training.lite import judge, sets

DEV = Path("clips") / "dev"


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.lite", description=__doc__)
    parser.add_argument("step", choices=["make", "judge"])
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--sets", default=",".join((*sets.FAKES, *sets.CONDITIONS)))
    arguments = parser.parse_args()
    if arguments.data is None:
        parser.error(f"{arguments.step} needs --data or AURA_DATA")
    wanted = arguments.sets.split(",")
    folder = arguments.data / DEV
    if arguments.step == "make":
        sets.make(labelled_clips(folder), arguments.out / "sets", wanted)
    else:
        judge.judge(judge.Judged(folder, arguments.out), wanted)


if __name__ == "__main__":
    main()
