"""Options of `blear predict --cluster` for worker processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from blear.job.overrides import parse_override
from blear.predict.on_ray.worker_options import options_for_workers
from blear.predict.options import PredictOptions


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    given = ("file='the boxes.csv'", "tolerance=0.5")
    options = options_for_workers(PredictOptions("model", locator="faces/boxes", locator_params=given), 0)
    assert options.model == str(tmp_path / "model")
    assert dict(map(parse_override, options.locator_params)) == {
        "file": str(tmp_path / "the boxes.csv"),
        "tolerance": 0.5,
    }
    assert options.device == "cpu"


@pytest.mark.parametrize(
    ("locator", "given"), [(None, ()), (None, ("batch=2",)), ("module:attr", ("file=a",)), ("faces/boxes", ())]
)
def test_other_parameters_stay_as_they_are(locator: str | None, given: tuple[str, ...]) -> None:
    options = options_for_workers(PredictOptions("robust-faces", locator=locator, locator_params=given), 1)
    assert (options.model, options.device, options.locator_params) == ("robust-faces", "cuda", given)
