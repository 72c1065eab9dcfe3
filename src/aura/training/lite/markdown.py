"""Cells and tables of the card."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def counted(one: dict[str, Any]) -> list[str]:
    """Cells about clips: how many, genuine called so, found, missed, uncertain."""
    return [
        f"{one['real']} / {one['fake']}",
        share(one["alarms"]),
        share(one["found"]),
        str(one["missed"]) if one["fake"] else "",
        str(one["uncertain"]),
    ]


def entry(one: dict[str, Any]) -> str:
    """A share of `sync robust`; n/a without cases."""
    return "n/a" if one["share"] is None else share([one["share"], *one["interval_95"]])


def rate(one: dict[str, Any]) -> str:
    """A `Rate` as a JSON object."""
    return share([one["value"], one["low"], one["high"]])


def share(three: Sequence[float] | None) -> str:
    """A share with its interval; nothing where there is none."""
    if three is None:
        return ""
    return f"{three[0]:.0%} [{three[1]:.0%}-{three[2]:.0%}]"


def three(three: Sequence[float]) -> str:
    """A figure with its interval."""
    if three[0] != three[0]:  # nan
        return "n/a"
    return f"{three[0]:.2f} [{three[1]:.2f}-{three[2]:.2f}]"


def signed(three: Sequence[float]) -> str:
    """A difference with its interval."""
    return f"{three[0]:+.2f} [{three[1]:+.2f}, {three[2]:+.2f}]"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
