"""Job files: every error at once with its place and a suggestion; profiles, overrides, matrices, full names, schema."""

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

JOB = """name: small
data:
  faces: {use: faces/procedural, size: 48, color: luma, targets: [valence]}
stages:
  clean:
    data: faces
    backbone: {use: cnn5x5, width: 0.1}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 3
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {clean: {stage: clean}}
profiles:
  longer: {stages.clean.steps: 30, "stages.*.batch_size": 7}
"""


@pytest.fixture
def job(tmp_path: Path):
    """Writes a job after replacing texts: job(("old", "new"), ...) -> path."""

    def write(*changes: tuple[str, str], text: str = JOB) -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return path

    return write


def problems(path: Path, **options) -> str:
    with pytest.raises(JobError) as caught:
        read_job(path, **options)
    return str(caught.value).replace(str(path), "JOB")


def test_names_become_full_and_defaults_apply(job) -> None:
    read, _ = read_job(job())
    stage = read.stages["clean"]
    assert (stage.backbone.use, stage.head.use, stage.batch_size) == ("vlqr/cnn5x5", "vlqr/valence", 128)
    assert read.evaluate is not None
    assert read.evaluate.sweep.use == "corruptions/downscale"


def test_the_resolved_job_reads_back_the_same(job, tmp_path: Path) -> None:
    read, _ = read_job(job(), profile="longer")
    again = tmp_path / "resolved.yaml"
    again.write_text(dump_job(read))
    assert read_job(again)[0] == read


def test_profile_then_override(job) -> None:
    read, _ = read_job(job(), profile="longer", overrides=["stages.clean.steps=31", "data.faces.size=50"])
    assert (read.stages["clean"].steps, read.stages["clean"].batch_size) == (31, 7)
    assert read.data["faces"].params["size"] == 50


def test_an_override_can_add_a_missing_section(job) -> None:
    read, _ = read_job(job(), overrides=["cluster.workers=2", "stages.clean.validate.every=5"])
    assert read.cluster.workers == 2
    assert read.stages["clean"].validate_ is not None
    assert "clusterr: unknown key; did you mean 'cluster'?" in problems(job(), overrides=["clusterr.workers=2"])


def test_all_errors_at_once_with_places_and_suggestions(job) -> None:
    text = problems(
        job(
            ("use: faces/procedural, size", "use: faces/procedual, size"),
            ("steps: 3\n", "stepz: 3\n"),
            ("cnn5x5, width", "cnn5x5, widht"),
            ("lr: 0.01", "lr: fast"),
            ("factor: [1, 2]", "factor: [1, 0.5]"),
            ("{stage: clean}", "{stage: klean}"),
        )
    )
    assert "7 errors in the job" in text
    assert "JOB:3:11: data.faces.use: there is no dataset 'faces/procedual'; did you mean faces/procedural" in text
    assert "JOB:7:29: stages.clean.backbone.widht: unknown key; did you mean 'width'?" in text
    assert "JOB:9:17: stages.clean.optimizer.lr: Input should be a valid number" in text
    assert "JOB:10:5: stages.clean.stepz: unknown key; did you mean 'steps'?" in text
    assert "JOB:5:3: stages.clean.steps: required, but not given" in text
    assert "evaluate.sweep.factor: Input should be greater than or equal to 1, got 0.5" in text
    assert "JOB:13:18: evaluate.arms.clean.stage: there is no stage 'klean'; did you mean 'clean'?" in text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stages.clean.steps=abc", "--set stages.clean.steps: stages.clean.steps: Input should be a valid integer"),
        ("stages.klean.steps=1", "does not exist in this job"),
        ("stages.clean.steps", "expected path=value"),
        ("stages.clean.steps=[", "the value is not YAML"),
        ("data.faces.source=/no/such/folder", "no such file or folder: /no/such/folder"),
        ("evaluate.data=face", "there is no data 'face'; did you mean 'faces'?"),
        ("evaluate.sweep.over={}", "has 0 parameters; a sweep varies exactly one"),
        ("evaluate.arms={}", "no arms"),
        ("stages.klean.steps=2", "keys of stages: clean"),
        ("cluster.workers=[2, 1]", "workers [2, 1] is no range"),
        ("stages.clean.profile_steps=[5, 2]", "profile_steps [5, 2] is no range"),
        ("name=2026", "Input should be a valid string, got 2026; put it into quotes"),
    ],
)
def test_invalid_overrides_are_errors(job, override: str, expected: str) -> None:
    assert expected in problems(job(), overrides=[override])


def test_unknown_profile_and_missing_or_broken_file(job, tmp_path: Path) -> None:
    assert "profiles: longer" in problems(job(), profile="shorter")
    malformed = (("longer: {", "longer: 1 #"), ("profiles:\n  longer:", "profiles: 1 #"))
    for change, expected in zip(
        malformed, ("JOB:15:3: profile 'longer' is no mapping", "is no mapping of names"), strict=True
    ):
        assert expected in problems(job(change), profile="longer")
    assert "profiles: 7" in problems(job(("longer: {", "7: {")), profile="shorter")
    assert "no such job file" in problems(tmp_path / "none.yaml")
    assert "JOB:3:" in problems(job(("size: 48", "size: [48")))
    assert "is a mapping" in problems(job(text="- 1\n"))
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in problems(tmp_path / "binary.yaml")


def test_only_decimal_digits_are_an_index(job) -> None:
    listed = ("steps: 3\n", "steps: 3\n    degrade: [{use: downscale, factor: 2}]\n")
    text = problems(job(listed), overrides=["stages.clean.degrade.².factor=1"])
    assert "keys of stages.clean: data, backbone" in text
    assert "degrade.0.factor: " in problems(job(listed), overrides=["stages.clean.degrade.0.factor=x"])


def test_numbers_as_names_of_data_are_errors(job) -> None:
    text = problems(job(("faces:", "1:"), ("data: faces", 'data: "1"')))
    assert "data.1: Input should be a valid string, got 1; put it into quotes" in text
    assert "there is no data '1'" in text


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "a\nb", "x" * 201])
def test_a_stage_is_named_as_a_folder(job, name: str) -> None:
    quoted = json.dumps(name)
    assert "is the name of the stage's folder" in problems(
        job(("  clean:", f"  {quoted}:"), ("{stage: clean}", f"{{stage: {quoted}}}"), ("stages.clean.", "stages.*."))
    )


def test_a_stage_starts_only_from_an_earlier_one(job) -> None:
    text = problems(job(("{use: cnn5x5, width: 0.1}", "{use: cnn5x5, start_from: {stage: clean}}")))
    assert "there is no earlier stage 'clean'" in text


def test_matrix_makes_one_entry_for_each_value(job) -> None:
    changes = (
        ("  clean:\n", '  "lq_{s}":\n    matrix: {s: [2, 3]}\n    degrade: [{use: downscale, factor: "{s}"}]\n'),
        ("{stage: clean}", '{stage: "lq_{factor}"}'),
        ("stages.clean.steps: 30, ", ""),
    )
    read, _ = read_job(job(*changes))
    assert {name: stage.degrade[0].params["factor"] for name, stage in read.stages.items()} == {"lq_2": 2, "lq_3": 3}
    assert all(stage.matrix is None for stage in read.stages.values())
    text = problems(job(("  clean:\n", "  lq:\n    matrix: {s: [2, 3]}\n"), ("{stage: clean}", "{stage: lq}")))
    assert "JOB:5:3: stages.lq: the matrix makes 'lq' twice" in text
    entry = "use: procedural, size: 32"
    text = problems(job(("data:\n", f'data:\n  "a_{{s}}": {{{entry}, matrix: {{s: [1, 2]}}}}\n  a_2: {{{entry}}}\n')))
    assert "data.a_2: a matrix above makes 'a_2' too; rename one of them" in text


def test_the_fallback_dataset_is_used_until_a_source_is_given(job, tmp_path: Path) -> None:
    changes = (
        (
            "{use: faces/procedural, size: 48, color: luma, targets: [valence]}",
            "\n    use: vlqr/avec2016\n    stand_in: {use: procedural}",
        ),
    )
    read, _ = read_job(job(*changes))
    assert read.data["faces"].uses_fallback
    assert read.data["faces"].chosen == ("faces/procedural", {})
    read, _ = read_job(job(*changes), overrides=[f"data.faces.source={tmp_path}"])
    assert read.data["faces"].chosen == ("vlqr/avec2016", {"source": str(tmp_path)})
    assert "data.faces.sizes: unknown key; did you mean 'size'?" in problems(
        job(*changes), overrides=["data.faces.sizes=3"]
    )


def test_one_file_plugins_are_relative_to_the_job(job, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("PLUGIN_API = 99\n")
    path = job(("name: small\n", "name: small\nplugins: [mine.py]\n"), ("use: cnn5x5", "use: mine/net"))
    assert "backbone 'mine/net': its plugin did not load: states PLUGIN_API = 99" in problems(path)
    load_plugins.cache_clear()


@pytest.fixture(scope="module")
def validator() -> jsonschema_rs.Draft202012Validator:
    """The validator of the schema of all plugins, which is a schema itself."""
    schema = json_schema(load_plugins())
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft202012Validator(schema)


def test_every_job_of_the_repository_is_correct_executable_and_fits_the_schema(
    validator: jsonschema_rs.Draft202012Validator, repository: Path
) -> None:
    jobs = sorted((repository / "jobs").glob("*.yaml"))
    assert len(jobs) >= 6
    for path in jobs:
        raw = YAML(typ="safe").load(path)
        validator.validate(json.loads(json.dumps(raw)))
        for profile in [None, *raw.get("profiles", {})]:
            read_job(path, profile=profile)
        assert path.stat().st_mode & 0o111, path
        assert path.read_text().startswith("#!/usr/bin/env -S blear run\n")


def test_schema_refuses_what_the_check_refuses(validator: jsonschema_rs.Draft202012Validator, job) -> None:
    wrong = YAML(typ="safe").load(job(("width: 0.1", "widht: 0.1")))
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate(wrong)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_job_in_utf_16_or_with_a_byte_order_mark_is_read(job, encoding: str) -> None:
    path = job(("name: small", "description: Gesichter, grün\nname: small"))
    path.write_bytes(path.read_text().encode(encoding))
    assert read_job(path)[0].description == "Gesichter, grün"


def test_a_job_that_is_no_text_is_named(job) -> None:
    path = job()
    path.write_bytes(path.read_bytes() + "grün".encode("latin-1"))
    with pytest.raises(JobError, match=r"neither UTF-8 nor UTF-16 text: .*\n  -> .*save it as UTF-8"):
        read_job(path)


def test_a_path_of_windows_is_named(job) -> None:
    old = "faces: {use: faces/procedural, size: 48, color: luma, targets: [valence]}"
    path = job((old, "faces: {use: vlqr/t91, source: 'D:\\sr\\t91'}"))
    with pytest.raises(JobError, match=r"no such file or folder: .*; a path of Windows: blear runs on Linux"):
        read_job(path)


def test_arms_are_compared_on_the_same_data(job) -> None:
    """Two arms with stages of different data, one of them an expert of each level."""
    other = "  other: {use: faces/procedural, size: 48, color: luma, targets: [valence]}\nstages:\n  e_2:\n"
    stage = JOB[JOB.index("    data: faces") : JOB.index("evaluate:")].replace("data: faces", "data: other")
    arms = 'arms: {clean: {stage: clean}, experts: {stage: "e_{factor}"}}'
    changes = (("stages:\n", other + stage), ("arms: {clean: {stage: clean}}", arms))
    text = problems(job(*changes))
    assert "the arms have different data, but are compared on the same samples" in text
    assert "arm 'clean' (stage 'clean') has 'faces', arm 'experts' (stage 'e_2') has 'other'" in text
    assert "set evaluate.data" in text
    read, _ = read_job(job(*changes, ("evaluate:\n", "evaluate:\n  data: faces\n")))
    assert read.evaluate is not None
    assert read.evaluate.data == "faces"
    read_job(job(*changes, ("  e_2:", "  e_3:")))  # no level has this stage


def test_paths_in_parameters_are_absolute(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers of a cluster have other working folders."""
    monkeypatch.chdir(tmp_path)
    faces = "{use: faces/procedural, size: 48, color: luma, targets: [valence]}"
    (tmp_path / "here").mkdir()
    for data, key, expected in (
        ("{use: fer/fer2013, source: here, votes: new.csv}", "votes", str(tmp_path / "new.csv")),
        ("{use: fer/fer2013, source: here, votes: null}", "votes", None),
        ("{use: fer/fer2013, source: here, votes: s3://bucket/new.csv}", "votes", "s3://bucket/new.csv"),
        ("{use: fer/afew, source: here, lists: {dev: a/b.txt}}", "lists", {"dev": str(tmp_path / "a" / "b.txt")}),
    ):
        text = JOB.replace(faces, data).replace("{use: valence}", "{use: fer/emotion}")
        checked, _ = read_job(job(text=text))
        assert (checked.data["faces"].model_extra or {})[key] == expected
