"""docs/training.md, followed word for word on a small tree in the layout of FaceForensics++."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests import media_factory as make

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnxruntime")

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
# Pairs of people by split. Half of `val` calibrates: at least five clips of each class.
PAIRS = {"train": 1, "val": 6, "test": 1}
PICTURES = 27  # 1.08 s: one window, and one more that ends with the clip
MAY_FIND_SOMETHING = "data audit"  # one portrait in many colours is no data set to trust
FINDINGS = 5


def commands() -> list[str]:
    """The lines of the page that begin with `aura`, of its first block of them."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    block = next(one for one in blocks if one.startswith("aura "))
    return block.strip().splitlines()


def person(portrait, number):
    """The portrait in colours of its own."""
    random = np.random.default_rng(number)
    gains = random.uniform(0.7, 1.15, 3)
    picture = np.clip(portrait * gains, 0, 255).astype(np.uint8)
    return picture[:, ::-1] if number % 2 else picture


def swapped(portrait, other):
    """A crude swap: the middle of one picture in the other."""
    height, width = portrait.shape[:2]
    picture = portrait.copy()
    rows, columns = slice(height // 4, 3 * height // 4), slice(width // 4, 3 * width // 4)
    picture[rows, columns] = other[rows, columns]
    return picture


@pytest.fixture(scope="module")
def place(tmp_path_factory, portrait):
    """A folder with the data set and a clip to analyse."""
    root = tmp_path_factory.mktemp("walk")
    tree = root / "FaceForensics++"
    real = tree / "original_sequences" / "youtube" / "c23" / "videos"
    fake = tree / "manipulated_sequences" / "Deepfakes" / "c23" / "videos"
    for folder in (real, fake, tree / "splits"):
        folder.mkdir(parents=True)
    number = 0
    for split, count in PAIRS.items():
        pairs = []
        for _ in range(count):
            one, other = f"{number:03}", f"{number + 1:03}"
            pairs.append([one, other])
            faces = {name: person(portrait, int(name)) for name in (one, other)}
            for a, b in ((one, other), (other, one)):
                make.write_clip(real / f"{a}.mp4", make.head(faces[a], PICTURES))
                swap = swapped(faces[a], faces[b])
                make.write_clip(fake / f"{a}_{b}.mp4", make.head(swap, PICTURES))
            number += 2
        (tree / "splits" / f"{split}.json").write_text(json.dumps(pairs), encoding="utf-8")
    make.write_clip(
        root / "clip.mp4", make.head(person(portrait, 99), 60), audio=make.Sound(make.tone(2.4))
    )
    return root


def run(line, place):
    environment = {
        **os.environ,
        "AURA_HOME": str(place / "home"),
        "OMP_NUM_THREADS": "1",
        "COLUMNS": "100",
    }
    words = shlex.split(line)
    assert words[0] == "aura"
    return subprocess.run(
        [sys.executable, "-m", "aura", *words[1:]],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_page_names_every_step_once():
    names = [" ".join(line.split()[1:3]) for line in commands()]
    assert [name.split()[0] for name in names] == [
        *("data", "data", "data", "train", "calibrate"),
        *("evaluate", "export", "promote", "analyze"),
    ]


def test_every_line_of_the_page_works_as_it_stands(place):
    said = {}
    for line in commands():
        result = run(line, place)
        allowed = (0, FINDINGS) if MAY_FIND_SOMETHING in line else (0,)
        assert result.returncode in allowed, f"{line}\n{result.stdout}\n{result.stderr}"
        assert "Traceback" not in result.stderr
        said[line.split("aura ")[1].split()[0]] = result.stdout
    figures = json.loads((place / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert figures
    assert list((place / "evaluation").glob("*.html"))
    assert json.loads((place / "run" / "calibration.json").read_text(encoding="utf-8"))
    assert (place / "run" / "aggregators.safetensors").is_file()
    assert "contract" in said["analyze"].lower()
    # What was promoted is what the report names.
    report = run("aura analyze --profile contract-v1 --json clip.mp4", place)
    document = json.loads(report.stdout)
    assert document["metadata"]["model_version"] == "contract-v1-1.0.0"
    contract = next(one for one in document["detectors"] if one["name"] == "contract")
    assert contract["status"] == "ok"
    assert 0.0 < contract["score"] < 1.0
