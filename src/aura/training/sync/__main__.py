"""Command line of the lip-sync training; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aura.faces import FaceDetector
from aura.runtime import weights_dir
from aura.training.audio.sounds import read_samples, recordings
from aura.training.recipe import told
from aura.training.sync import evaluate, export, features, robust
from aura.training.sync.fit import fit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aura.training.sync.features import Clip

CONFIG = Path(__file__).with_name("config.json")


def main() -> None:
    """Run one step of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.sync", description=__doc__)
    parser.add_argument("step", choices=["export-stem", "fit", "evaluate", "robust", "export"])
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, help="folder outside the repository")
    parser.add_argument("--model-bin", type=Path, help="CTranslate2's file of Whisper tiny.en")
    parser.add_argument("--config", type=Path, default=CONFIG)
    arguments = parser.parse_args()
    if arguments.step == "export-stem":
        if arguments.model_bin is None:
            parser.error("export-stem needs --model-bin")
        print(f"wrote {export.export_stem(arguments.model_bin, weights_dir())}")
        return
    if arguments.out is None:
        parser.error(f"{arguments.step} needs --out")
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    fitted, figures = arguments.out / "sync.npz", arguments.out / "figures.json"
    if arguments.step == "export":
        print(f"wrote {export.export_sync(fitted, figures, config, weights_dir())}")
        return
    if arguments.data is None:
        parser.error(f"{arguments.step} needs --data or AURA_DATA")
    arguments.out.mkdir(parents=True, exist_ok=True)
    clips = features.read_clips(arguments.data)
    if arguments.step == "robust":
        _robust(arguments.data, arguments.out, clips, config)
        return
    if arguments.step == "fit":
        real, extra = evaluate.chosen(clips, config)
        found = fit([*real, *extra], config)
        np.savez(fitted, lips=found.lips, sound=found.sound)
        print(f"{len(found.delays)} clips; delays in steps of 40 ms: {found.delays}")
    else:
        text = json.dumps(evaluate.evaluate(clips, config), indent=2)
        figures.write_text(text + "\n", encoding="utf-8")
        print(text)


def _robust(data: Path, out: Path, clips: Sequence[Clip], config: dict[str, Any]) -> None:
    """Measure abstention and false alarms; JSON into `out`, the table on the terminal."""
    faces = FaceDetector(device="cpu")
    rows = robust.real_clips(data)
    shown = [robust.footage(data / row["path"], row, faces) for row in rows]
    voices = [read_samples(data / one.path) for one in recordings(data) if one.family is None]
    bench = robust.Bench(clips, shown, voices, config)
    trials = [
        *bench.own_sound(),
        *bench.recompressed(data, rows, faces, out),
        *bench.elsewhere(),
        *bench.moved(),
    ]
    figures = robust.summary(trials)
    text = json.dumps(figures, indent=2)
    (out / "robust.json").write_text(text + "\n", encoding="utf-8")
    print(robust.markdown(figures))


if __name__ == "__main__":
    told(main)
