"""The real command line over made-up detectors: what a file's bytes say decides its evidence.

Run as a script it is `aura` for tests that need a process of their own.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from made_up import heard, plain_lite, report

from aura import cli
from aura.errors import InputNotFound, UnreadableMedia, WeightsError

analysed: list[str] = []


def analyze(path, *, profile, faces, fps, device, hook, without, false_alarms):
    path = Path(path)
    if not path.is_file():
        raise InputNotFound(f"{path} does not exist; check the name")
    content = path.read_bytes()
    analysed.append(path.name)
    for second in range(10):
        if hook:
            hook("analyse", float(second), 10.0)
        if content == b"slow":
            Path(str(path) + ".started").touch()
            time.sleep(0.5)
    if content == b"broken":
        raise UnreadableMedia(f"{path} is no video that can be decoded; export it again")
    if content == b"no weights":
        raise WeightsError("visual-lite.onnx is missing; reinstall aura-veracity")
    if content == b"bug":
        raise ZeroDivisionError("float division by zero")
    logit = {b"fake": 3.0, b"unclear": 0.1}.get(content, -3.0)
    return report(path, [heard("visual_blend", logit)], using=plain_lite())


if __name__ == "__main__":
    cli._load_pipeline = lambda: analyze
    if os.environ.get("MADE_UP_TERMINAL"):
        sys.stderr.isatty = lambda: True
    sys.exit(cli.run(sys.argv[1:]))
