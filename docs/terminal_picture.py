"""Draws `docs/terminal.svg`: what `aura analyze` prints, for the README.

    python docs/terminal_picture.py out/sample.mp4
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from aura import analyze
from aura.panel import Terminal, print_report

COLUMNS = 88


def main(clip: Path) -> None:
    """Analyse a clip and write the panel as SVG."""
    console = Terminal(
        file=io.StringIO(), width=COLUMNS, record=True, force_terminal=True, legacy_windows=False
    )
    console.print(f"$ aura analyze {clip.name}", highlight=False)
    print_report(analyze(clip), console)
    target = Path(__file__).with_name("terminal.svg")
    console.save_svg(str(target), title="aura")
    sys.stdout.write(f"wrote {target}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
