"""A progress bar on standard error, fed by the pipeline's hook, which also sees a lost Ctrl-C."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from aura import interrupts

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

STAGES = {
    "probe": "reading the file",
    "analyse": "looking and listening",
    "verdict": "weighing the evidence",
    "explain": "drawing the evidence",
}
NAME_WIDTH = 32


class Bars:
    """One bar at a time; it leaves nothing behind on the terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn("line" if console.options.ascii_only else "dots"),
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False, style="dim"),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hide()

    def hide(self) -> None:
        """Clear the bar away, so that something else can be printed; `begin` shows it again."""
        self._progress.stop()

    def begin(self, name: str) -> Callable[[str, float, float | None], None]:
        """Show a bar for one file and give the hook that moves it."""
        for task in self._progress.task_ids:
            self._progress.remove_task(task)
        shown = "".join(char if char.isprintable() else "?" for char in name)
        if len(shown) > NAME_WIDTH:
            shown = shown[: NAME_WIDTH - 3] + "..."
        bar = self._progress.add_task(STAGES["probe"], name=shown, total=None)
        self._progress.start()
        stage_now = ""

        def hook(stage: str, completed: float, total: float | None) -> None:
            nonlocal stage_now
            interrupts.look()
            if stage != stage_now:
                stage_now = stage
                self._progress.reset(bar, total=total, description=STAGES.get(stage, stage))
            self._progress.update(bar, completed=completed, total=total)

        return hook
