"""The documentation is a site: built strictly, complete, searchable, and without anything from elsewhere."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from browser import browse


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_built_and_found(site: Path, repository: Path) -> None:
    pages = {page.relative_to(repository / "docs").with_suffix(".html") for page in (repository / "docs").rglob("*.md")}
    assert pages <= {page.relative_to(site) for page in site.rglob("*.html")}
    index = (site / "search" / "search_index.js").read_text()
    for words in ("blear.degrade", "own pictures", "register_locators"):
        assert words in index
    assert (site / "start.ipynb").is_file()
    assert not list(site.glob("*.py"))


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//[^\" >]*")
    for page in site.rglob("*.html"):
        assert loaded.findall(page.read_text()) == [], page.name
        assert 'class="mermaid"' not in page.read_text(), "mermaid is loaded from a network of servers"
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?https?:", style.read_text()), style.name


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 1280])
def test_a_word_is_searched_and_its_page_opened_without_a_network(
    site: Path, chromium: str, tmp_path: Path, width: int
) -> None:
    async def visit(tab):
        await tab.open(site / "index.html", width, "light")
        await tab.click("label[for=__search].md-header__button" if width < 960 else ".md-search__input")
        await tab.until("document.activeElement.matches('.md-search__input')")
        await tab.call("Input.insertText", text="temporal shift")
        for kind in ("keyDown", "keyUp"):  # the page reads the words when a key is released
            await tab.call("Input.dispatchKeyEvent", type=kind, key="Shift")
        await tab.until("document.querySelectorAll('.md-search-result__link').length")
        await asyncio.sleep(0.5)  # the results slide in
        found = await tab.evaluate("[...document.querySelectorAll('.md-search-result__link')].map(e => e.href)")
        await tab.click(".md-search-result__link")
        start = json.dumps((site / "index.html").as_uri())
        await tab.until(f"location.href.split(/[?#]/)[0] != {start} && document.readyState == 'complete'")
        return found, await tab.evaluate("[location.href, document.querySelector('article').innerText]"), tab.requests

    found, (place, text), requests = browse(chromium, tmp_path / "profile", visit)
    assert any("systems.html" in link or "vtt" in link for link in found), found
    assert re.split(r"[?#]", place)[0] == re.split(r"[?#]", found[0])[0]
    assert "temporal shift" in text.lower()
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
