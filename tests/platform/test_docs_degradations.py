"""docs/degradations.md is what `make docs` makes: every registered degradation, every level, every picture."""

import importlib.util
import sys

import pytest


@pytest.fixture(scope="module")
def maker(repository):
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("make_degradations", repository / "docs" / "make_degradations.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_page_and_its_pictures_are_current(maker):
    text = maker.PAGE.read_text()
    measured, entries = maker.read(text), maker.entries()
    assert set(measured) == {entry.title for entry in entries}, "run `make docs`"
    assert maker.page(measured) == text, "run `make docs`"
    assert {path.name for path in maker.PICTURES.iterdir()} == {entry.file for entry in entries}, "run `make docs`"
    assert sum(path.stat().st_size for path in maker.PICTURES.iterdir()) < 3e6
    for entry in entries:
        assert len(measured[entry.title].psnr) == len(entry.levels())
        assert measured[entry.title].gradient in ("yes", "no")


@pytest.mark.parametrize("title", ["corruptions/gaussian_blur", "corruptions/rafdb_c contrast"])
def test_its_numbers_are_measured(maker, title):
    said = maker.read(maker.PAGE.read_text())[title]
    (entry,) = (entry for entry in maker.entries() if entry.title == title)
    found = maker.measure(entry)
    assert (found.gradient, found.varies) == (said.gradient, said.varies)
    assert list(map(float, found.psnr)) == pytest.approx(list(map(float, said.psnr)), abs=0.15)


def test_a_new_level_makes_the_page_stale(maker):
    text = maker.PAGE.read_text()
    measured = maker.read(text)
    fog = measured["corruptions/fog"]
    assert len(fog.psnr) == 5
    measured["corruptions/fog"] = maker.Measured(fog.gradient, fog.varies, fog.psnr[:4])
    assert maker.page(measured) != text
    assert maker.read(maker.page(measured))["corruptions/fog"].psnr == ("",) * 5
