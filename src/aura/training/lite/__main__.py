"""Command line of the card; see the package's first lines."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from aura.evaluation import labelled_clips
from aura.runtime import model_card
from aura.training.lite import card, cues, judge, refit, sets
from aura.training.recipe import told

DEV = Path("clips") / "dev"
PAGE = Path(__file__).parents[4] / "docs" / "lite.md"
FIGURES, CUES = "card.json", "cues.json"


def main() -> None:
    """Run one step."""
    parser = argparse.ArgumentParser(prog="python -m aura.training.lite", description=__doc__)
    parser.add_argument("step", choices=["make", "judge", "cues", "refit", "card"])
    parser.add_argument("--data", type=Path, default=os.environ.get("AURA_DATA"))
    parser.add_argument("--out", type=Path, required=True, help="folder outside the repository")
    parser.add_argument("--sets", help="by name, with commas; all by default")
    parser.add_argument("--before", type=Path, help="`--out` of earlier weights, to compare with")
    parser.add_argument("--sync", type=Path, help="robust.json of `python -m aura.training.sync`")
    parser.add_argument("--write", action="store_true", help="write into the shipped profile")
    arguments = parser.parse_args()
    if arguments.step == "card":
        _write_card(arguments.out, arguments.sync)
        return
    if arguments.data is None:
        parser.error(f"{arguments.step} needs --data or AURA_DATA")
    everything = (judge.DEV, *sets.FAKES, sets.PHOTOGRAPHS, *sets.CONDITIONS)
    wanted = arguments.sets.split(",") if arguments.sets else everything
    folder = Path(arguments.data) / DEV
    judged = judge.Judged(folder, arguments.out)
    if arguments.step == "make":
        chosen = [name for name in wanted if name != judge.DEV]
        sets.make(labelled_clips(folder), arguments.data, arguments.out / "sets", chosen)
    elif arguments.step == "judge":
        judge.judge(judged, wanted)
    elif arguments.step == "cues":
        text = json.dumps(cues.measure(judged), indent=2)
        (arguments.out / CUES).write_text(text + "\n", encoding="utf-8")
        print(text)
    else:
        before = judge.Judged(folder, arguments.before, frozen=True) if arguments.before else None
        profile, figures = refit.refit(judged, before)
        text = json.dumps(figures, indent=2)
        (arguments.out / FIGURES).write_text(text + "\n", encoding="utf-8")
        print(text)
        if arguments.write:
            refit.write(profile, figures)


def _write_card(out: Path, sync_at: Path | None) -> None:
    figures = json.loads((out / FIGURES).read_text(encoding="utf-8"))
    sync = json.loads(sync_at.read_text(encoding="utf-8")) if sync_at else {}
    speech = model_card("audio-lite").metrics["at the threshold"]
    path = out / CUES
    tried = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    PAGE.write_text(card.written(figures, sync, speech, tried), encoding="utf-8")
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    told(main)
