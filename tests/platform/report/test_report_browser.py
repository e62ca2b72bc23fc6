"""The page in headless Chromium: a desktop and a phone, light and dark, one condition and several."""

import csv
import io
import json
import re
import urllib.request
from itertools import pairwise

import cv2
import numpy as np
import pytest
from report_runs import make_run

from blear.report import build, compare
from blear.report.run_files import read_results
from browser import browse

CONDITIONS = ("corruptions/downscale", "corruptions/gaussian_noise", "soft")
ARM_COLORS = ("clean-trained", "mix-trained", "an-arm-with-a-rather-long-name_of_many_words")

LOOK = """(() => {
  const luminance = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (high + 0.05) / (low + 0.05);
  };
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (!/, 0\\)$/.test(color)) return color;
    }
  };
  const shown = (e) => e.getBoundingClientRect().width > 0 && e.checkVisibility();
  const texts = [...document.querySelectorAll('main *')].filter(e => shown(e) && !e.closest('svg, legend')
    && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()));
  const labels = [...document.querySelectorAll('svg text')].filter(shown);
  const card = getComputedStyle(document.querySelector('.card')).backgroundColor;
  const rows = texts.map(e => [contrast(getComputedStyle(e).color, behind(e)), e.tagName + ': ' + e.textContent]);
  const svgRows = labels.map(e => [contrast(getComputedStyle(e).fill, card), 'svg: ' + e.textContent]);
  const lines = [...document.querySelectorAll('.dot')].filter(shown)
    .map(e => [contrast(getComputedStyle(e).backgroundColor, behind(e.parentElement)), e.parentElement.textContent]);
  const outside = [...document.querySelectorAll('svg')].filter(shown).flatMap(s => {
    const box = s.getBoundingClientRect();
    return [...s.querySelectorAll('text')].map(t => [t.getBoundingClientRect(), t.textContent])
      .filter(([t]) => t.left < box.left - 2 || t.right > box.right + 2)
      .map(([, text]) => text);
  });
  return {
    width: document.documentElement.scrollWidth, window: innerWidth,
    broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length, images: document.images.length,
    unnamed: [...document.querySelectorAll('svg')].filter(s => !s.getAttribute('aria-label')).length
      + [...document.images].filter(i => !i.alt).length,
    text: rows.sort((a, b) => a[0] - b[0])[0], label: svgRows.sort((a, b) => a[0] - b[0])[0],
    line: lines.sort((a, b) => a[0] - b[0])[0], page: luminance(behind(document.querySelector('h1'))),
    outside, ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    narrow: [...document.querySelectorAll('.narrow')].some(shown),
    wide: [...document.querySelectorAll('.wide')].some(shown),
    levels: [...document.querySelectorAll('h1, h2, h3, h4')].map(h => +h.tagName[1]),
  };
})()"""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    root = tmp_path_factory.mktemp("pages")
    one = build(make_run(root / "one"))
    runs = [
        make_run(
            root / name, "class", ARM_COLORS[:count], conditions=CONDITIONS, levels=[1, 2, 4], clean=True, missed=0.05
        )
        for name, count in (("first", 3), ("second", 2))
    ]
    return {"one": one, "several": compare(runs, root / "both")}


@pytest.fixture(scope="module")
def seen(pages, chromium, tmp_path_factory):
    """(page, width, theme) -> rendered content, and all requested URLs."""

    async def visit(tab):
        found = {}
        for name, page in pages.items():
            for width in (375, 1280):
                for theme in ("light", "dark"):
                    await tab.open(page, width, theme)
                    found[name, width, theme] = await tab.evaluate(LOOK)
        return found, tab.requests

    return browse(chromium, tmp_path_factory.mktemp("browser"), visit)


@pytest.mark.browser
def test_nothing_is_wider_than_the_window(seen):
    for (_, width, _), look in seen[0].items():
        assert look["window"] == width
        assert look["width"] == width  # wide tables scroll inside their boxes


@pytest.mark.browser
def test_the_page_makes_no_requests(seen, pages):
    asked = {url for url in seen[1] if not url.startswith("data:")}
    assert asked == {page.as_uri() for page in pages.values()}


@pytest.mark.browser
def test_text_has_contrast_in_both_themes(seen):
    """WCAG 2.2: 4.5 for text, 3 for lines of a chart; the page itself is light or dark as the system asks."""
    for (_, _, theme), look in seen[0].items():
        assert look["text"][0] >= 4.5, look["text"]
        assert look["label"][0] >= 3, look["label"]
        assert look["line"][0] >= 3, look["line"]
        assert (look["page"] > 0.8) == (theme == "light")
        assert (look["page"] < 0.05) == (theme == "dark")


@pytest.mark.browser
def test_pictures_have_names_and_labels_stay_inside(seen):
    for look in seen[0].values():
        assert look["broken"] == look["unnamed"] == 0
        assert look["outside"] == []
        assert len(look["ids"]) == len(set(look["ids"]))
    assert seen[0]["one", 375, "light"]["images"] == 3 * 8 + 2 * 2 * 6


@pytest.mark.browser
def test_headings_descend_one_level_at_a_time(seen):
    for look in seen[0].values():
        levels = look["levels"]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.browser
def test_the_curve_is_drawn_for_the_width(seen):
    assert [seen[0]["one", 375, "light"][k] for k in ("narrow", "wide")] == [True, False]
    assert [seen[0]["one", 1280, "light"][k] for k in ("narrow", "wide")] == [False, True]


@pytest.mark.browser
def test_the_switch_and_the_files(pages, chromium, tmp_path):
    """A click makes the page and its charts dark; a link has the content of the file in figures/."""

    async def visit(tab):
        await tab.open(pages["one"], 1280, "light")
        script = """(id) => { document.getElementById(id).click(); return [
            getComputedStyle(document.body).backgroundColor,
            getComputedStyle(document.querySelector('svg text')).fill] }"""
        colors = [await tab.evaluate(f"({script})('theme-{theme}')") for theme in ("dark", "light", "system")]
        links = "Object.fromEntries([...document.querySelectorAll('a[download]')].map(a => [a.download, a.href]))"
        await tab.screenshot(tmp_path / "page.png")
        return colors, await tab.evaluate(links)

    (dark, light, system), links = browse(chromium, tmp_path / "profile", visit)
    assert dark == ["rgb(22, 24, 27)", "rgb(230, 232, 235)"]
    assert light == system == ["rgb(246, 247, 249)", "rgb(28, 30, 33)"]
    figures = pages["one"].parent / "figures"
    for name, uri in links.items():
        with urllib.request.urlopen(uri) as file:  # data: only
            assert file.read().decode() == (figures / name).read_text()
    assert {"robustness.csv", "robustness.svg", "learning.csv"} <= set(links)
    picture = cv2.imread(str(tmp_path / "page.png")).astype(int)
    blue = np.array([178, 114, 0])
    assert (np.abs(picture - blue).max(axis=-1) < 12).sum() > 300  # the curve of the first arm


@pytest.mark.browser
def test_the_numbers_in_the_dom_are_those_of_the_table(pages, chromium, tmp_path):
    """Every cell of the first table of values, read from the DOM, is the summary's number."""
    cells = """[...document.querySelector('#robustness table.numbers').rows]
        .map(r => [...r.cells].map(c => c.firstChild && c.firstChild.textContent))"""

    async def visit(tab):
        await tab.open(pages["one"], 375, "light")
        return await tab.evaluate(cells)

    head, *body = browse(chromium, tmp_path / "profile", visit)
    summary, info = read_results(pages["one"].parent)
    assert [float(text) for text in head[1:]] == info.sweep.levels
    for arm, row in zip(summary.arms, body, strict=True):
        found = [summary.estimate(arm, info.sweep.condition, level) for level in info.sweep.levels]
        assert row[1:] == [f"{e.value:.3f}" for e in found]
    rows = list(csv.DictReader(io.StringIO((pages["one"].parent / "figures" / "robustness.csv").read_text())))
    assert {json.dumps([r["arm"], float(r["severity"]), r["metric"], float(r["value"])]) for r in rows} == {
        json.dumps([e.arm, e.severity, e.metric, e.value]) for e in summary.estimates
    }
    assert not re.search("nan|None", json.dumps(rows))
