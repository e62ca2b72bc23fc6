"""The conformance checks of locators: a correct one passes, each violation is named; `faces/mtcnn` passes."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from blear.testing import NonconformityError, NotCheckedError, checks_of

_NUMBER = itertools.count()
PLUGIN = """from dataclasses import dataclass
from blear.contracts import Component, Params
from blear.hooks import hookimpl
from blear.imaging import Box

PLUGIN_API = 1

@dataclass(frozen=True)
class Found:
    box: Box

class Centre:
    calls = 0

    def faces(self, frames_THWC):
        if frames_THWC.dtype != "uint8" or frames_THWC.shape[1:][2:] != (3,):
            raise ValueError("not uint8 [T, H, W, 3]")
        self.calls += 1
        return [[Found(Box(8, 8, 20.0, 24))] if frame.any() else [] for frame in frames_THWC]

@hookimpl
def register_locators():
    return [Component("centre", "A box in the centre", Params, lambda params, context: Centre())]
"""


@pytest.fixture
def broken(tmp_path: Path):
    """broken("old", "new") -> check -> its message, for the plugin in which `old` is replaced by `new`."""

    def failures(*changes: tuple[str, str]) -> dict[str, str]:
        text = PLUGIN
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        file = tmp_path / f"locators{next(_NUMBER)}.py"
        file.write_text(text)
        found = {}
        for check in checks_of(str(file)):
            try:
                check()
            except NonconformityError as error:
                found[check.requirement] = str(error)
        return found

    return failures


def test_a_correct_locator_passes(broken) -> None:
    assert broken() == {}


@pytest.mark.parametrize(
    ("old", "new", "check", "message"),
    [
        ("def faces", "def find", "is a locator", "a method faces"),
        ("return [[", "return [[]] + [[", "returns boxes for each frame", "expected 3 entries, got 4"),
        ("Found(Box(8, 8, 20.0, 24))", "(8, 8, 20, 24)", "returns boxes for each frame", "detections with a `box`"),
        ("20.0", "0.0", "returns boxes for each frame", "finite boxes with an area"),
        ("Box(8, 8", "Box(800, 8", "returns boxes for each frame", "overlap the frame of 128 x 96"),
        ("self.calls += 1", "frames_THWC[:] = 1", "returns boxes for each frame", "the frames to stay as they are"),
        ("Box(8, 8", "Box(8 + self.calls, 8", "is deterministic", "the same boxes again"),
        ("self.calls += 1", "frames_THWC[0]", "accepts an empty batch of frames", "IndexError"),
        ('frames_THWC.dtype != "uint8" or ', "", "refuses frames of another dtype or shape", "for float32 frames"),
        ("!= (3,)", "not in {(3,), (1,)}", "refuses frames of another dtype or shape", "for frames of one channel"),
    ],
)
def test_each_violation_is_named(broken, old: str, new: str, check: str, message: str) -> None:
    failures = broken((old, new))
    assert check in failures
    assert message in failures[check]


def test_the_first_party_locators_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for check in checks_of("faces", only=["mtcnn", "retinaface", "centerface"]):
        check()
    monkeypatch.chdir(tmp_path)
    (check,) = (check for check in checks_of("faces", only=["yunet"]) if check.requirement == "is a locator")
    with pytest.raises(NotCheckedError, match=r"the example's file is missing: face_detection_yunet_2023mar\.onnx"):
        check()
    Path("boxes.csv").write_text("frame,left,top,width,height\n0,1,2,30,40\n")
    for check in checks_of("faces", only=["boxes"]):
        check()
