"""`blear check` sends a blank clip through every chain: sizes that do not fit are known before anything is prepared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blear.contracts import Target
from blear.data.prepared import Prepared
from blear.errors import JobError
from blear.job.reader import read_job
from blear.pipeline.data_facts import DataFacts, data_facts
from blear.pipeline.dry_run import dry_run
from blear.pipeline.prepare import prepare_data
from blear.testing import NonconformityError, checks_of

JOB = """name: sizes
data:
  faces: {use: faces/procedural, size: 48, color: luma, targets: [valence]}
  others: {use: hf/dataset, source: SOURCE}
stages:
  clean: &stage
    data: faces
    degrade: [{use: downscale, factor: 2}]
    backbone: {use: cnn5x5, width: 0.05}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 4
  more:
    <<: *stage
    augment: [{use: random_crop, size: 32}]
evaluate:
  split: dev
  data: faces
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {one: {stage: clean}, two: {stage: more}}
"""


@pytest.fixture
def job(tmp_path: Path):
    """Writes the job after replacing texts."""

    def write(*changes: tuple[str, str]) -> Path:
        text = JOB.replace("SOURCE", str(tmp_path))
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "job.yaml"
        path.write_text(text)
        return path

    return write


def found(path: Path, *overrides: str) -> list[str]:
    """The problems of a job, one a line."""
    read, catalog = read_job(path, overrides=overrides)
    with pytest.raises(JobError) as caught:
        dry_run(read, catalog, data_facts(read, catalog)[0])
    return caught.value.what.splitlines()


def test_stages_with_unsuitable_frames_are_reported(job) -> None:
    problems = found(job(("{use: downscale, factor: 2}", "{use: random_crop, size: 40}, {use: random_crop, size: 44}")))
    assert [line for line in problems if line.startswith("stages.")] == [
        "stages.clean: corruptions/random_crop: a crop of 44 x 44 does not fit into frames of 40 x 40",
        "stages.more: corruptions/random_crop: a crop of 40 x 40 does not fit into frames of 32 x 32",
    ]


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("evaluate.split=test", "evaluate.split: there is no split 'test'"),
        ("stages.clean.head={use: fer/emotion}", "stages.clean: fer/emotion: the data has no class target 'emotion'"),
    ],
)
def test_what_only_the_fallback_dataset_lacks_is_explained(job, override: str, problem: str) -> None:
    own = "{use: faces/procedural, size: 48, color: luma, targets: [valence]}"
    path = job((f"faces: {own}", f"faces: {{use: hf/dataset, source: null, stand_in: {own}}}"))
    first, *_, last = found(path, override)
    assert first == problem
    assert last == (
        "data faces: data.faces.source is not given, so faces/procedural (`stand_in`) is used instead of hf/dataset "
        "(--set data.faces.source=PATH)"
    )


def test_conditions_are_checked_at_the_frame_size_of_each_arm(job) -> None:
    crop = "after: [{use: random_crop, size: 40}]"
    [line, _] = found(job(("over: {factor: [1, 2]}", f"over: {{factor: [2]}}, {crop}")))
    assert line.startswith("evaluate.sweep (corruptions/downscale, factor 2): ")
    assert line.endswith("corruptions/random_crop: a crop of 40 x 40 does not fit into frames of 32 x 32")


def test_a_valid_job_passes_and_missing_data_is_reported(job, blear) -> None:
    path = job(("    data: faces\n    degrade: [{use: downscale", "    data: others\n    degrade: [{use: downscale"))
    done = blear("check", path)
    assert done.returncode == 0, done.stderr
    assert "data others: frames not checked (" in done.stdout
    assert "correct; 2 stages" in done.stdout


def test_check_and_run_fail_before_training(job, blear, storage: Path) -> None:
    path = job(("{use: downscale, factor: 2}", "{use: random_crop, size: 60}"))
    for command in ("check", "run"):
        done = blear(command, path)
        assert done.returncode == 2, done.stdout
        assert (
            "stages.clean: corruptions/random_crop: a crop of 60 x 60 does not fit into frames of 48 x 48"
            in done.stderr
        )
    assert not list(storage.glob("runs/sizes/stages/*"))


BUG = """from blear.contracts import Component, Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class Bug:
    def __init__(self, params, context):
        pass

    def draw(self, keys):
        return {}

    def apply(self, frames_BTCHW, draws):
        return frames_BTCHW / int("one")

    def levels(self):
        return []


@hookimpl
def register_degradations():
    return [Component("bug", "Has one", Params, Bug)]
"""


def test_an_exception_of_a_component_is_one_line_with_its_position(job, tmp_path: Path) -> None:
    (tmp_path / "bug.py").write_text(BUG)
    path = job(
        ("data:\n  faces", "plugins: [bug.py]\ndata:\n  faces"), ("{use: downscale, factor: 2}", "{use: bug/bug}")
    )
    line = f"ValueError: invalid literal for int() with base 10: 'one' ({tmp_path / 'bug.py'}, line 15)"
    assert found(path)[:2] == [f"stages.clean: {line}", f"stages.more: {line}"]


def test_a_degradation_that_returns_no_frames_or_no_levels_is_named(job, tmp_path: Path) -> None:
    (tmp_path / "flat.py").write_text(BUG.replace('frames_BTCHW / int("one")', "frames_BTCHW[:, 0]"))
    path = job(
        ("data:\n  faces", "plugins: [flat.py]\ndata:\n  faces"), ("{use: downscale, factor: 2}", "{use: flat/bug}")
    )
    assert "`apply` of Bug returned [1, 1, 48, 48], expected frames [1, T, C, H, W]" in found(path)[0]
    (tmp_path / "none.py").write_text(BUG.replace('frames_BTCHW / int("one")', "frames_BTCHW").replace("[]", "None"))
    path = job(("data:\n  faces", "plugins: [none.py]\ndata:\n  faces"))
    lines = found(path, "evaluate.sweep={use: none/bug}")
    assert any(line.startswith("evaluate.sweep: TypeError: 'NoneType' object is not iterable") for line in lines)


@pytest.mark.parametrize(
    ("overrides", "problem"),
    [
        (["evaluate.split=test"], "evaluate.split: there is no split 'test'"),
        (["evaluate.temperature=other"], "evaluate.temperature: there is no split 'other'"),
        (["stages.more.split=extra"], "stages.more.split: there is no split 'extra'"),
        (["stages.more.validate={every: 2, split: none}"], "stages.more.validate.split: there is no split 'none'"),
        (["stages.more.validate={every: 2, metric: cc_}"], "the head has no metric 'cc_'"),
        (
            [
                "data.others={use: faces/procedural, size: 48, targets: [emotion], color: luma}",
                "stages.more.validate={every: 2, data: others}",
            ],
            "stages.more.validate.data: the data have no target 'valence'",
        ),
        (
            [
                "data.others={use: faces/procedural, size: 24, targets: [valence], color: luma}",
                "stages.clean.validate={every: 2, data: others}",
            ],
            "stages.clean.validate.data: the model cannot be validated on clips of 24x24 pixels",
        ),
        (["stages.more.head.use=vlqr/arousal"], "stages.more: "),
        (["stages.more.optimizer.scale_lr={conv9: 0}"], "scale_lr: 'conv9' matches no parameter"),
        (
            ["evaluate.equivalence=[{margin: 0.1, of: one, against: two, target: joy}]"],
            "evaluate.equivalence: stage 'clean' of the arm 'one' has no target 'joy'",
        ),
        (
            ["evaluate.sweep.group={flips: previous}"],
            "evaluate.sweep: flip rates (of corruptions/downscale) need a target with classes",
        ),
        (["stages.more.batch_size=3", "stages.more.accumulate=4"], "stages.more.batch_size: a batch of 3 samples"),
        (["stages.more.backbone.start_from={stage: clean, take: [conv9]}"], "'conv9' took no weights"),
    ],
)
def test_a_mistake_of_a_later_stage_or_of_the_evaluation_is_known_before_training(job, overrides, problem) -> None:
    problems = found(job(), *overrides)
    assert any(problem in line for line in problems), problems


def test_a_batch_that_the_prepared_split_does_not_fill_is_reported(job, storage: Path) -> None:
    read, catalog = read_job(job(), overrides=["data.faces.subjects={train: 1, dev: 1}", "data.faces.per_subject=5"])
    prepared = Prepared.open(
        prepare_data(read.model_copy(update={"stages": {"clean": read.stages["clean"]}}), catalog, workers=1)["faces"]
    )
    with pytest.raises(JobError, match="5 samples do not fill one batch of 128"):
        dry_run(read, catalog, {"faces": DataFacts.of_prepared(prepared)})


UNUSED = """from blear.contracts import Component, Params
from blear.hooks import hookimpl
from torch import nn

PLUGIN_API = 1


class Net(nn.Module):
    def __init__(self, params, context):
        super().__init__()
        self.used, self.spare = nn.Conv2d(context.clip.channels, 4, 3), nn.Conv2d(4, 4, 3)

    def forward(self, frames_BTCHW):
        x = self.used(frames_BTCHW.flatten(0, 1)).relu().mean(dim=(2, 3))
        return {"embedding": x.unflatten(0, frames_BTCHW.shape[:2])}


@hookimpl
def register_backbones():
    return [Component("net", "Has a layer that nothing uses", Params, Net)]
"""


def test_parameters_without_a_gradient_are_an_error_for_several_workers_and_a_note_for_one(job, tmp_path: Path) -> None:
    (tmp_path / "spare.py").write_text(UNUSED)
    path = job(
        ("data:\n  faces", "plugins: [spare.py]\ndata:\n  faces"), ("{use: cnn5x5, width: 0.05}", "{use: spare/net}")
    )
    path.write_text(
        path.read_text()
        .replace("{use: valence}", "{use: fer/emotion, target: emotion}")
        .replace("targets: [valence]", "targets: [emotion]")
    )
    read, catalog = read_job(path)
    notes = dry_run(read, catalog, data_facts(read, catalog)[0])
    assert notes[0].startswith(
        "stage clean: parameters without a gradient: backbone.spare.weight, backbone.spare.bias;"
    )
    problems = found(path, "cluster.workers=[1, 2]")
    assert "several workers cannot train: backbone.spare.weight, backbone.spare.bias" in problems[0]
    frozen = [f"stages.{name}.optimizer.scale_lr={{spare.*: 0}}" for name in ("clean", "more")]
    read, catalog = read_job(path, overrides=["cluster.workers=2", *frozen])
    assert dry_run(read, catalog, data_facts(read, catalog)[0]) == []


def test_the_suite_reports_parameters_without_a_gradient(tmp_path: Path) -> None:
    (tmp_path / "idle.py").write_text(UNUSED)
    [check] = [check for check in checks_of(str(tmp_path / "idle.py")) if "can be trained" in str(check)]
    with pytest.raises(NonconformityError, match=r"spare\.weight"):
        check()


def test_classes_that_a_split_lacks_are_noted(job) -> None:
    read, catalog = read_job(job())
    facts = data_facts(read, catalog)[0]
    mood = Target("mood", "class", ("calm", "glad", "sad"))
    counts = {"train": {"mood": (5, 0, 1)}, "dev": {"mood": (0, 2, 0)}, "test": {"mood": (0, 0, 0)}}
    targets = {**facts["faces"].targets, "mood": mood}
    known = {"faces": replace(facts["faces"], targets=targets, class_counts=counts)}
    assert dry_run(read, catalog, known) == [
        "data faces: no sample of the split train has mood glad",
        "data faces: no sample of the split dev has mood calm, sad",
    ]
