"""Command line of the contract network; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import torch

from aura.errors import AuraError
from aura.training.contract import describe, pretrained
from aura.training.contract.config import read_config


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or the exit code of the error that it names."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.contract", description=__doc__)
    parser.add_argument("command", choices=["describe", "fetch", "convert"])
    parser.add_argument("--config", default="full", help="full, small, or a JSON file")
    parser.add_argument("--encoders", type=Path, default=os.environ.get(pretrained.STORE_VARIABLE))
    parser.add_argument("--checkpoint", type=Path, help="convert: folder with a pickle")
    parser.add_argument("--batch", type=int, default=2, help="describe: windows in a batch")
    parser.add_argument("--frames", type=int, default=5, help="describe: frames in a window")
    parser.add_argument("--steps", type=int, default=3, help="describe: steps that are measured")
    parser.add_argument("--threads", type=int, help="describe: threads of PyTorch")
    parser.add_argument("--json", action="store_true", help="describe: JSON instead of tables")
    chosen = parser.parse_args(arguments)
    if chosen.command == "fetch" and chosen.encoders is None:
        parser.error(f"fetch needs --encoders or {pretrained.STORE_VARIABLE}")
    if chosen.command == "convert" and chosen.checkpoint is None:
        parser.error("convert needs --checkpoint")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    try:
        if chosen.command == "convert":
            print(f"wrote {pretrained.convert(chosen.checkpoint)}")
        elif chosen.command == "fetch":
            for source, commit in pretrained.fetch(read_config(chosen.config), chosen.encoders):
                print(f"{source} at {commit}")
        else:
            config = read_config(chosen.config)
            figures = describe.describe(config, chosen.batch, chosen.frames, chosen.steps)
            print(json.dumps(figures) if chosen.json else describe.as_text(figures))
    except AuraError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
