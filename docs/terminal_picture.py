"""Draws `docs/terminal.svg`: what `aura analyze` prints, for the README.

python docs/terminal_picture.py out/sample.mp4
"""

from __future__ import annotations

import io
import re
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
    svg = console.export_svg(title="aura")
    # Without the web fonts that rich refers to: the picture must need nothing from elsewhere.
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg).replace("Fira Code, monospace", "monospace")
    target.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"wrote {target}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
