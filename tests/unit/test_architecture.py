"""ARCHITECTURE.md is what a newcomer reads first, so it must match the tree."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "aura"
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
# `name.py`, `folder/name.py`, `folder/`: what the page puts in backticks as a place in the tree.
NAMED = sorted(set(re.findall(r"`([a-z_./]+(?:\.py|/)|[a-z_./]+\.json)`", PAGE)))


def modules() -> list[str]:
    """Every module and folder that the page owes a word, relative to the package.

    A trained model's own steps, and a database's, are told in their folder's first lines; the
    page names the folder.
    """
    found = []
    for path in PACKAGE.rglob("*.py"):
        place = path.relative_to(PACKAGE)
        step_of_training = place.parts[0] == "training" and len(place.parts) > 2
        step_of_database = place.parts[:2] == ("service", "migrations")
        front_of_folder = place.name == "__init__.py" and len(place.parts) > 1
        whole_folder = step_of_training or step_of_database or front_of_folder
        found.append(f"{place.parent.as_posix()}/" if whole_folder else place.as_posix())
    return sorted(set(found))


@pytest.mark.parametrize("module", modules())
def test_every_module_is_named_on_the_page(module: str) -> None:
    assert f"`{module}`" in PAGE, f"{module} is not named in ARCHITECTURE.md"


@pytest.mark.parametrize("place", NAMED)
def test_every_place_that_the_page_names_exists(place: str) -> None:
    assert (PACKAGE / place).exists() or (ROOT / place).exists(), f"there is no {place}"


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", PAGE))
def test_every_link_on_the_page_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists(), f"there is no {target}"


def test_the_page_names_many_places_so_that_the_tests_above_test_something() -> None:
    assert len(NAMED) > 30
