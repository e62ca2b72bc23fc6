"""The levels of a sweep: those of the job, else those that the degradation names."""

import pytest
from pydantic import ValidationError

from blear.contracts import BuildContext, ClipSpec
from blear.errors import JobError
from blear.evaluate.sweep import levels
from blear.job.schema import Evaluate
from blear.plugin.discovery import load_plugins

CONTEXT = BuildContext(clip=ClipSpec(1, 3, 48, 48))


def swept(**sweep):
    return of(sweep)


def of(sweep, **more):
    return levels(Evaluate(sweep=sweep, arms={"only": {"stage": "only"}}, **more), load_plugins(), CONTEXT)


def test_levels_of_the_job():
    found = swept(use="downscale", interpolation="area", over={"factor": [1, 2.5]})
    assert [(level.parameter, level.severity) for level in found] == [("factor", 1), ("factor", 2.5)]
    assert found[1].params == {"interpolation": "area", "factor": 2.5}
    assert found[1].format_stage("expert_{factor}") == "expert_2.5"


def test_levels_of_a_degradation_with_fixed_parameters():
    found = swept(use="downscale", factor=2, interpolation="area")
    assert len(found) > 2
    assert {level.parameter for level in found} == {"factor"}
    assert {level.params["interpolation"] for level in found} == {"area"}


@pytest.mark.parametrize(("name", "parameter"), [("corruptions/fog", "severity"), ("codec/h264", "crf")])
def test_levels_of_the_menus(name, parameter):
    found = swept(use=name)
    assert {level.parameter for level in found} == {parameter}
    assert len({level.severity for level in found}) == len(found) > 2


def test_ranges_of_one_number_are_severities():
    found = swept(use="kornia/RandomGaussianBlur", kernel_size=[9, 9], sigma=[1, 2])
    assert [level.severity for level in found] == [0.5, 1, 2, 3, 5]
    assert found[0].params["sigma"] == [0.5, 0.5]
    assert [level.severity for level in swept(use="scale_mix", factors={1: 1, 2: 1, 4: 1})] == [1, 2, 4]
    given = swept(use="kornia/RandomGaussianBlur", kernel_size=[9, 9], sigma=[1, 2], over={"sigma": [[1, 1], [2, 2]]})
    assert [(level.severity, level.params["sigma"]) for level in given] == [(1, [1, 1]), (2, [2, 2])]
    with pytest.raises(ValidationError, match=r"is the range \[1.0, 2.0\]; a severity is one number"):
        swept(use="kornia/RandomGaussianBlur", kernel_size=[9, 9], sigma=[1, 2], over={"sigma": [[1, 2]]})


def test_a_degradation_without_levels_is_an_error():
    with pytest.raises(JobError, match="do not differ in exactly one parameter"):
        swept(use="random_flip")


def test_several_sweeps_are_conditions_of_their_own_and_clean_comes_first():
    found = of(
        [
            {"use": "downscale", "over": {"factor": [1, 2]}},
            {"use": "downscale", "interpolation": "area", "over": {"factor": [4]}},
            {"use": "codec/h264", "label": "half size", "over": {"crf": [23]}, "group": {"codec": "h264", "shrink": 2}},
        ],
        clean=True,
    )
    assert [(level.condition, level.parameter, level.severity) for level in found] == [
        ("clean", "", 0),
        ("downscale", "factor", 1),
        ("downscale", "factor", 2),
        ("downscale 2", "factor", 4),
        ("half size", "crf", 23),
    ]
    assert found[0].use is None
    assert found[3].params == {"interpolation": "area", "factor": 4}
    assert found[4].params == {"crf": 23}
    assert [level.format_stage("expert_{factor}") for level in found] == [
        "expert_{factor}",
        "expert_1",
        "expert_2",
        "expert_4",
        "expert_{factor}",
    ]
    assert found[4].format_stage("{condition}/{crf}") == "half size/23"
    assert found[0].format_stage("{condition}") == "{condition}"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "b", "a"], "two sweeps have the label 'a'"),
        (["clean"], "is reserved for frames without degradation"),
        ([], "at least 1"),
    ],
)
def test_equal_labels_are_an_error(labels, message):
    with pytest.raises(ValidationError, match=message):
        of([{"use": "downscale", "label": label} for label in labels])


@pytest.mark.parametrize(
    ("over", "message"),
    [
        ({"factor": [2, 3, 2.0]}, "has the value 2 of 'factor' twice"),  # every sample would count twice
        ({"factor": []}, "has no value of 'factor'"),
        ({"factor": [2], "interpolation": [1]}, "has 2 parameters; a sweep varies exactly one"),
        ({}, "has 0 parameters"),
        ({"factor": [float("nan")]}, "a severity is a finite number"),
    ],
)
def test_a_sweep_has_one_parameter_with_different_finite_values(over, message):
    with pytest.raises(ValidationError, match=message):
        of([{"use": "downscale", "over": over}])


def test_generated_labels_avoid_given_labels():
    assert list(Evaluate(sweep=[{"use": "a"}, {"use": "b", "label": "a"}], arms={}).sweeps) == ["a 2", "a"]
