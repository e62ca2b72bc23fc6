"""docs/reference is what `make docs` writes; hooks, commands, fields are documented; the changelog has the surface."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def reference(repository: Path) -> ModuleType:
    """The script that makes the pages."""
    spec = importlib.util.spec_from_file_location("make_reference", repository / "docs" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_page_is_stale(reference: ModuleType, repository: Path) -> None:
    pages = reference.pages()
    assert set(pages) == {path.name for path in (repository / "docs" / "reference").iterdir()}
    stale = [name for name, text in pages.items() if (repository / "docs" / "reference" / name).read_text() != text]
    assert stale == [], "run `make docs`"


def test_everything_is_documented(reference: ModuleType) -> None:
    assert reference.undocumented() == []


def test_a_change_of_the_surface_has_a_changelog_entry(reference: ModuleType, repository: Path) -> None:
    pinned = (repository / "docs" / "reference" / "surface.txt").read_text()
    first, lines = pinned.split("\n", 1)
    stated = re.findall(r"[0-9a-f]{8}", first)
    assert stated == [reference.digest(lines)]
    changelog = (repository / "CHANGELOG.md").read_text()
    assert stated[0] in changelog, f"say in CHANGELOG.md what changed for plugin authors, with `{stated[0]}`"


def test_new_names_appear_in_the_surface(reference: ModuleType) -> None:
    lines = reference.surface().splitlines()
    assert "hook register_heads() -> 'list[Component]'" in lines
    assert "contracts.Sample.frames: np.ndarray" in lines
    assert "contracts.Degradation.draw(self, keys: 'DrawKeys') -> 'Draws'" in lines
    assert any(line.startswith("command blear plugins check NAME COMPONENTS") for line in lines)
    assert any(line.startswith("job Stage.steps: integer") for line in lines)
    assert not any("_Tester" in line for line in lines)
