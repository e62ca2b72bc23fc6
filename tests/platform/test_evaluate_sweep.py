"""The levels of a sweep: those of the job, else those that the degradation names."""

import pytest

from blear.contracts import BuildContext, ClipSpec
from blear.errors import JobError
from blear.evaluate.sweep import levels
from blear.job import Evaluate
from blear.plugins import load

CONTEXT = BuildContext(clip=ClipSpec(1, 3, 48, 48))


def swept(**sweep):
    return levels(Evaluate(sweep=sweep, arms={"only": {"stage": "only"}}), load(), CONTEXT)


def test_levels_of_the_job():
    found = swept(use="downscale", interpolation="area", over={"factor": [1, 2.5]})
    assert [(level.parameter, level.severity) for level in found] == [("factor", 1), ("factor", 2.5)]
    assert found[1].params == {"interpolation": "area", "factor": 2.5}
    assert found[1].fill("expert_{factor}") == "expert_2.5"


def test_levels_of_a_degradation_whose_other_parameters_stay():
    found = swept(use="downscale", factor=2, interpolation="area")
    assert len(found) > 2
    assert {level.parameter for level in found} == {"factor"}
    assert {level.params["interpolation"] for level in found} == {"area"}


@pytest.mark.parametrize(("name", "parameter"), [("corruptions/fog", "severity"), ("codec/h264", "crf")])
def test_levels_of_the_menus(name, parameter):
    found = swept(use=name)
    assert {level.parameter for level in found} == {parameter}
    assert len({level.severity for level in found}) == len(found) > 2


def test_an_operation_without_levels_names_what_to_add():
    with pytest.raises(JobError, match="names no single swept parameter"):
        swept(use="random_flip")
