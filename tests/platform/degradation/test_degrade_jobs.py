"""Groups of degradations in a job: names, places of errors, the resolved job, the schema, the report, training."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema_rs
import pytest
from ruamel.yaml import YAML

from blear.errors import JobError
from blear.job.json_schema import json_schema
from blear.job.reader import dump_job, read_job
from blear.plugin.discovery import load_plugins
from blear.report.text import format_component

PLUGIN = """from pydantic import Field
from blear.contracts import Component
from blear.contracts import Params
from blear.hooks import hookimpl

PLUGIN_API = 1

class WeightParams(Params):
    weight: float = Field(1.0, description="A weight.")

@hookimpl
def register_degradations():
    return [Component("heavy", "Has a reserved parameter name", WeightParams, "nowhere:at_all")]
"""
JOB = """name: groups
data:
  faces: {use: faces/procedural, size: 24, color: luma, targets: [valence]}
stages:
  clean:
    data: faces
    augment:
      - {use: random_flip, p: 0.25}
    degrade:
      - one_of:
          - {use: downscale, factor: 4, weight: {0: 0, 1: 3}}
          - chain:
              - {use: random_noise, p: 1}
              - {use: downscale, factor: 2}
        p: 0.5
        from: 0.25
      - any_order: [{use: random_brightness}, {use: random_shift, pixels: 1}]
    backbone: {use: cnn5x5, width: 0.05}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 4
"""


@pytest.fixture
def job(tmp_path: Path):
    """job((old, new), ...) -> path of the job with these texts replaced."""

    def write(*changes: tuple[str, str]) -> Path:
        text = JOB
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return path

    return write


def test_the_resolved_job_has_full_names_in_groups_and_reads_back_equal(job, tmp_path: Path) -> None:
    read, _ = read_job(job())
    group, order = read.stages["clean"].degrade
    assert [member.key if hasattr(member, "key") else member.use for member in group.one_of] == [
        "corruptions/downscale",
        "chain",
    ]
    assert (group.p, group.from_, group.until, group.one_of[0].weight) == (0.5, 0.25, 1, {0: 0, 1: 3})
    assert [entry.use for entry in order.any_order] == ["corruptions/random_brightness", "corruptions/random_shift"]
    text = dump_job(read)
    assert "until" not in text
    again = tmp_path / "resolved.yaml"
    again.write_text(text)
    assert read_job(again)[0] == read


def test_degradations_of_a_job_include_those_in_groups(job) -> None:
    stand_in = "size: 24, stand_in: {use: faces/procedural, degrade: [{chain: [{use: resize, size: 24}]}]}, color"
    read, _ = read_job(job(("size: 24, color", stand_in)))
    names = ["downscale", "random_noise", "downscale", "random_brightness", "random_shift"]
    expected = [f"corruptions/{name}" for name in ("resize", "random_flip", *names)]
    assert [use.use for use in read.degradations] == expected


def test_the_report_shows_groups(job) -> None:
    read, _ = read_job(job())
    shown = format_component(
        [entry.model_dump(mode="json", by_alias=True) for entry in read.stages["clean"].degrade[1:]]
    )
    assert shown.startswith("[corruptions/random_brightness")
    assert " ⇄ corruptions/random_shift (" in shown


def test_the_json_schema_accepts_groups_and_refuses_malformed_ones(job) -> None:
    schema = json_schema(load_plugins())
    validator = jsonschema_rs.Draft202012Validator(schema)
    raw = YAML(typ="safe").load(JOB)
    assert list(validator.iter_errors(json.loads(json.dumps(raw)))) == []
    for wrong in ({"one_of": []}, {"chain": [{"use": "downscale"}]}, {"any_order": [{"use": "downscale", "factr": 2}]}):
        raw["stages"]["clean"]["degrade"] = [wrong]
        assert list(validator.iter_errors(json.loads(json.dumps(raw))))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("factor: 2", "factor: 0.5", "JOB:14:34: stages.clean.degrade.0.one_of.1.chain.1.factor: Input should be gre"),
        ("use: random_noise", "use: random_noize", "JOB:13:18: stages.clean.degrade.0.one_of.1.chain.0.use: there is"),
        ("        p: 0.5\n", "        p: 1.5\n", "JOB:15:9: stages.clean.degrade.0.p: Input should be less than or eq"),
        ("from: 0.25", "frm: 0.25", "JOB:16:9: stages.clean.degrade.0.frm: unknown key; did you mean 'from'?"),
        ("from: 0.25", "until: 0", "JOB:10:9: stages.clean.degrade.0: Value error, from 0 until 0 is empty"),
        ("weight: {0: 0, 1: 3}", "weight: {}", "weight is empty"),
        ("p: 0.25", "p: 2", "JOB:8:28: stages.clean.augment.0.p: Input should be less than or equal to 1"),
        ("p: 0.25", "p: {0: 0.5}", "JOB:8:28: stages.clean.augment.0.p: Input should be a valid number"),
        (
            "any_order: [{",
            "chains: []\n        any_order: [{",
            "stages.clean.degrade.1.chains: unknown key; did you mean 'cha",
        ),
        ("any_order: [{use: random_brightness}", "any_order: [{}", "stages.clean.degrade.1.any_order.0.use: required"),
        ("any_order: [{use: random_brightness}", "any_order: [5", "stages.clean.degrade.1.any_order.0: Input should"),
    ],
)
def test_errors_in_groups_name_their_position(job, old: str, new: str, expected: str) -> None:
    path = job((old, new))
    with pytest.raises(JobError) as caught:
        read_job(path)
    assert expected in str(caught.value).replace(str(path), "JOB")


def test_weights_that_are_all_zero_at_some_step_are_refused(job) -> None:
    path = job(("          - chain:\n", "          - weight: {0: 0, 0.5: 1}\n            chain:\n"))
    with pytest.raises(JobError, match="at 0 of the steps all weights are 0"):
        read_job(path)


def test_a_parameter_cannot_have_the_name_of_an_entry_key(tmp_path: Path) -> None:
    file = tmp_path / "taken.py"
    file.write_text(PLUGIN)
    problems = {plugin.name: plugin.problem for plugin in load_plugins((str(file),)).plugins}
    assert problems["taken"] == "heavy: 'weight' is a key of every degradation in a job; rename the parameter"


def test_a_sweep_may_have_entries_around_it(job, tmp_path: Path) -> None:
    around = "before: [{use: blur, p: 0.5}], after: [{any_order: [{use: noise}, {use: jpeg_differentiable}]}]"
    evaluate = (
        f"evaluate: {{sweep: {{use: downscale, over: {{factor: [2, 4]}}, {around}}}, arms: {{a: {{stage: clean}}}}}}\n"
    )
    path = job(("stages:\n", f"{evaluate}stages:\n"))
    read, _ = read_job(path)
    names = [use.use.split("/")[1] for use in read.degradations[-3:]]
    assert names == ["blur", "noise", "jpeg_differentiable"]
    again = tmp_path / "resolved.yaml"
    again.write_text(dump_job(read))
    assert read_job(again)[0] == read
    path.write_text(path.read_text().replace("use: noise", "use: noize"))
    with pytest.raises(JobError, match=r"evaluate.sweep.after.0.any_order.0.use: there is no degradation 'noize'"):
        read_job(path)
