"""The exceptions that Aura raises on purpose, and the exit code each one maps to.

    AuraError
    ├── UsageError            2  an option or argument makes no sense
    ├── InputError            3  this file can't be analysed
    │   ├── InputNotFound        no such file, a folder, or no permission
    │   ├── UnreadableMedia      not a media file, truncated, broken
    │   └── NoVideo              the file has no picture track
    ├── WeightsError          4  a model file is missing, altered or of a newer format
    ├── ReportError           5  a report or its key can't be read or used
    ├── MissingExtra          4  an optional dependency is not installed
    └── Cancelled           130  the user pressed Ctrl-C or the caller's hook asked to stop

Every message is one sentence for a person: what happened, which file, what to do next.
"""

from __future__ import annotations


class AuraError(Exception):
    """Base of all errors that Aura raises on purpose."""

    exit_code = 1
    kind = "error"


class UsageError(AuraError):
    """An option or argument makes no sense."""

    exit_code = 2
    kind = "usage"


class InputError(AuraError):
    """This file can't be analysed."""

    exit_code = 3
    kind = "input"


class InputNotFound(InputError):
    """The path does not exist, is a folder, or may not be read."""

    kind = "input_not_found"


class UnreadableMedia(InputError):
    """The bytes are not a media file that can be decoded."""

    kind = "unreadable_media"


class NoVideo(InputError):
    """The file has no picture track."""

    kind = "no_video"


class WeightsError(AuraError):
    """A model file is missing, altered, or written for a newer version."""

    exit_code = 4
    kind = "weights"


class ReportError(AuraError):
    """A report, or the key that it is signed with, can't be read or used."""

    exit_code = 5
    kind = "report"


class MissingExtra(AuraError):
    """An optional dependency is not installed."""

    exit_code = 4
    kind = "missing_extra"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs more packages: pip install 'aura-veracity[{extra}]'")


class Cancelled(AuraError):
    """The analysis was stopped on request; nothing of it is kept."""

    exit_code = 130
    kind = "cancelled"
