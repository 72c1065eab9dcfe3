"""Command line of the contract network; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
import sys
from functools import partial
from pathlib import Path

import torch

from aura.errors import AuraError
from aura.training.contract import describe, pretrained, study
from aura.training.contract.config import read_config
from aura.training.contract.distributed import choose_device
from aura.training.contract.talkers import Talkers, photographs, recordings
from aura.training.data.prepared import open_prepared
from aura.training.visual.crops import load

TRAIN_TALKERS, CONTROL_TALKERS = 64, 24


def _talkers(chosen: argparse.Namespace) -> tuple[Talkers, Talkers]:
    """Talking photographs to train on and others as a control; other faces, other sentences."""
    crops, fps = load(chosen.photos), chosen.fps
    made = [
        Talkers(photographs(crops, faces, count), recordings(chosen.speech, voices, count), fps)
        for faces, voices, count in (
            ("train", "train", TRAIN_TALKERS),
            ("dev", "val", CONTROL_TALKERS),
        )
    ]
    return made[0], made[1]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or the exit code of the error that it names."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.contract", description=__doc__)
    parser.add_argument("command", choices=["describe", "fetch", "convert", "study"])
    parser.add_argument("--config", default="full", help="full, small, quick, or a JSON file")
    parser.add_argument("--encoders", type=Path, default=os.environ.get(pretrained.STORE_VARIABLE))
    parser.add_argument("--checkpoint", type=Path, help="convert: folder with a pickle")
    parser.add_argument("--batch", type=int, default=2, help="describe: windows in a batch")
    parser.add_argument("--frames", type=int, default=5, help="describe: frames in a window")
    parser.add_argument("--steps", type=int, default=3, help="describe: steps that are measured")
    parser.add_argument("--threads", type=int, help="describe: threads of PyTorch")
    parser.add_argument("--device", default="cpu", help="describe: cpu, cuda or auto")
    parser.add_argument("--amp", action="store_true", help="describe: bfloat16, as in training")
    parser.add_argument("--data", type=Path, help="study: a prepared set")
    parser.add_argument("--photos", type=Path, help="study: what visual prepare wrote; optional")
    parser.add_argument("--speech", type=Path, default=os.environ.get("AURA_DATA"), help="study")
    parser.add_argument("--fps", type=float, default=10.0, help="study: of talking photographs")
    parser.add_argument("--out", type=Path, help="study: folder for what it makes and finds")
    parser.add_argument("--json", action="store_true", help="describe: JSON instead of tables")
    chosen = parser.parse_args(arguments)
    if chosen.command == "fetch" and chosen.encoders is None:
        parser.error(f"fetch needs --encoders or {pretrained.STORE_VARIABLE}")
    if chosen.command == "convert" and chosen.checkpoint is None:
        parser.error("convert needs --checkpoint")
    if chosen.command == "study" and (chosen.data is None or chosen.out is None):
        parser.error("study needs --data and --out, and most likely --config quick")
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    try:
        if chosen.command == "study":
            clips = open_prepared(chosen.data)
            config, say = read_config(chosen.config), partial(print, flush=True)
            talkers = _talkers(chosen) if chosen.photos else None
            print(study.Study(clips, config, study.Plan(), chosen.out, say, talkers).run())
        elif chosen.command == "convert":
            print(f"wrote {pretrained.convert(chosen.checkpoint)}")
        elif chosen.command == "fetch":
            for source, commit in pretrained.fetch(read_config(chosen.config), chosen.encoders):
                print(f"{source} at {commit}")
        else:
            config = read_config(chosen.config)
            figures = describe.describe(
                config,
                chosen.batch,
                chosen.frames,
                chosen.steps,
                choose_device(chosen.device),
                amp=chosen.amp,
            )
            print(json.dumps(figures) if chosen.json else describe.as_text(figures))
    except AuraError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
