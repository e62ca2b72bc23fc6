"""The report of a synthetic run: provenance, outcome, errors."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from report_runs import CLASSES, CONDITION, LEVELS, REGRESSION, make_run

from blear.errors import RunError
from blear.evaluate.markdown import seeds_note, summary_markdown
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summarise import summarise
from blear.progress import duration
from blear.report import build, curve_png
from blear.report.outcome import outcome
from blear.report.run_files import read_results, read_run
from blear.report.sections.learning import section as learning_section
from blear.report.sections.learning import thinned
from blear.report.text import format_component, format_time
from blear.report.view import build_view


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = make_run(tmp_path_factory.mktemp("report") / "run")
    build(root)
    return root


@pytest.fixture(scope="module")
def small_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "small", clips=30)


@pytest.fixture
def damaged_run(small_run, tmp_path):
    """A copy of a small run, to be damaged."""
    return shutil.copytree(small_run, tmp_path / "run")


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text()


def test_the_page_has_the_numbers_of_the_summary(run, page):
    summary, _ = read_results(run)
    for e in summary.estimates:
        assert f"<td>{e.value:.3f}<span>[{e.low:.3f}, {e.high:.3f}]</span></td>" in page
    for d in summary.differences:
        assert f"{d.value:.3f}<span>[{d.low:.3f}, {d.high:.3f}]</span>" in page
    assert len(summary.estimates) == 2 * 8 * 2
    assert len(summary.differences) == 8


def test_the_sections_are_in_order(page):
    headings = re.findall(r"<h[12]>(.*?)</h[12]>", page)
    assert headings == [
        "made-up",
        "Robustness",
        "Robustness in numbers",
        "Tests",
        "Sample faces",
        "Worst mistakes",
        "Learning curves",
        "What was run",
    ]


def test_the_validation_metric_has_a_learning_curve(tmp_path):
    """Loss and accuracy, each of training batches and of validation."""
    root = make_run(tmp_path / "run", arms=("only",), clips=60, levels=LEVELS)
    log = root / "stages" / "only" / "log.jsonl"
    plain = log.read_text()
    lines = [json.dumps({"step": s, "loss": 1.0, "training_accuracy": s / 100}) for s in (10, 20, 30)]
    lines += [json.dumps({"step": 30, "validation_loss": 1.5, "validation_accuracy": 0.25})]
    log.write_text("\n".join(lines) + "\n")
    figure = learning_section(build_view([read_run(root)])).figures[0]
    loss, accuracy = figure.panels
    assert accuracy.alt == "Learning curve of only: accuracy, at the end training 0.3 and validation 0.25"
    (axes,) = accuracy.canvas.axes
    assert (axes.get_ylabel(), loss.canvas.axes[0].get_ylabel()) == ("accuracy", "loss")
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}
    assert drawn == {"training": [[10, 0.1], [20, 0.2], [30, 0.3]], "validation": [[30, 0.25]]}
    rows = [(row["what"], row["of"], row["step"], row["value"]) for row in figure.rows]
    assert rows == [
        *(("loss", "training", s, 1.0) for s in (10, 20, 30)),
        ("loss", "validation", 30, 1.5),
        *(("accuracy", "training", s, s / 100) for s in (10, 20, 30)),
        ("accuracy", "validation", 30, 0.25),
    ]
    log.write_text(plain)
    assert len(learning_section(build_view([read_run(root)])).figures[0].panels) == 1


def test_the_page_is_self_contained_and_escapes_text(page):
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page) == []
    assert "@import" not in page
    assert "<script" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "stages: {a&lt;b: 1, " in page


def test_ids_are_unique_and_references_resolve(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert used
    assert set(used) <= set(ids)


def test_the_page_has_the_provenance_of_the_run(page):
    for fact in (
        "Fallback data.",
        "vlqr/avec2016",
        "Drawn by this program; free to use.",
        "blear run jobs/made-up.yaml --profile small",
        "corruptions/scale_mix (factors={3: 1, 4: 1})",
        "skipped conv4.weight: not in this backbone",
        "2,944,985 trained",
        "3,874 images/s",
        "2 min 45 s",
        "2026-03-01 10:00 UTC",
        "torch 2.11.0",
        "0.1.0:0123456789ab",
        "draws whole videos",
    ):
        assert fact in page, fact


def test_the_same_run_gives_the_same_page(run, page):
    assert build(run).read_text() == page


def test_the_outcome_names_the_middle_level_and_counts(run):
    summary, _ = read_results(run)
    first, counted, mildest = outcome(build_view([read_run(run)]))
    mix, clean = (summary.estimate(arm, CONDITION, 6) for arm in ("mix-trained", "clean-trained"))
    assert first == (
        f"At factor 6, mix-trained reaches CC {mix.value:.3f} [{mix.low:.3f}, {mix.high:.3f}], "
        f"where clean-trained reaches {clean.value:.3f} [{clean.low:.3f}, {clean.high:.3f}]."
    )
    tests = [t for t in summary.tests if t.severity is not None]
    better = sum(t.holm < 0.05 and t.difference > 0 for t in tests)
    worse = sum(t.holm < 0.05 and t.difference < 0 for t in tests)
    assert better >= 2
    assert counted.startswith(
        f"Of 8 levels it is better at {better}, worse at {worse}, and undecided at {8 - better - worse} ("
    )
    assert mildest.startswith("At factor 1: ")


def test_page_and_table_say_that_one_seed_does_not_cover_the_chance_of_training(run, page):
    assert seeds_note(read_results(run)[0]) in page
    assert "one training with one seed" in summary_markdown(read_results(run)[0])


def test_an_interval_that_excludes_zero_is_no_verdict(run, tmp_path):
    """Intervals exclude zero and corrected p values are 0.65: no part of the page calls an arm better or worse."""
    root = Path(shutil.copytree(run, tmp_path / "run"))
    summary, _ = read_results(root)
    tests = [test.model_copy(update={"holm": 0.65}) for test in summary.tests]
    assert any(d.excludes_zero for d in summary.differences)
    summary = summary.model_copy(update={"tests": tests})
    (root / "summary.json").write_text(summary.model_dump_json())
    page = build(root).read_text()
    assert "Of 8 levels it is better at 0, worse at 0, and undecided at 8" in page
    assert ">better<" not in page
    assert ">worse<" not in page
    assert page.count(">undecided<") == len(tests)
    assert "\\*" not in summary_markdown(summary).partition("\\*: differs")[0]


def test_an_upper_bound_is_never_the_outcome(run):
    files = read_run(run)
    bound = files.info.arms["mix-trained"].model_copy(update={"clean": True})
    info = files.info.model_copy(update={"arms": files.info.arms | {"mix-trained": bound}})
    (sentence,) = outcome(build_view([replace(files, info=info)]))
    assert sentence.startswith("clean-trained reaches CC ")
    assert "mix-trained" not in sentence


def test_lower_is_better_inverts_the_verdict(run):
    """With RMSE as the headline metric, the mixed arm has negative differences and is better."""
    metrics = REGRESSION[::-1]
    summary = summarise(
        read_predictions(run / "predictions.parquet"), metrics, reference="clean-trained", seed=0, resamples=100
    )
    better = sum(t.holm < 0.05 and t.difference < 0 for t in summary.tests if t.severity is not None)
    assert better >= 5
    assert f"better at {better}, worse at 0" in outcome(build_view([replace(read_run(run), summary=summary)]))[1]


def test_classes_are_named_and_marked(tmp_path):
    root = make_run(tmp_path / "run", kind="class", videos=0)
    page = build(root).read_text()
    rows_ = [r for r in read_predictions(root / "predictions.parquet").to_pylist() if r["sample"] == "dev/0080"]
    assert f"truth: {CLASSES[int(rows_[0]['truth'])]}" in page
    right = sum(page.count(f'<td class="good">✓ {name}<small>') for name in CLASSES)
    wrong = sum(page.count(f'<td class="bad">✗ {name}<small>') for name in CLASSES)
    assert right + wrong == 3 * 2 * 8
    shown = [r for r in read_predictions(root / "predictions.parquet").to_pylist() if r["sample"] in _shown(root)]
    assert right == sum(r["truth"] == r["prediction"] for r in shown)
    assert "draws whole samples" in page
    assert "Mean over videos" not in page


def _shown(root):
    with np.load(root / "faces.npz") as arrays:
        return set(arrays["samples"].tolist())


def test_one_arm_and_two_videos_have_no_intervals(tmp_path):
    page = build(make_run(tmp_path / "run", arms=("only",), videos=2)).read_text()
    assert "No intervals: only 2 video(s) to resample." in page
    assert "Difference from" not in page
    assert re.search(r"only reaches CC 0\.\d+ at factor 1, 0\.\d+ at factor 6\.", page)


def test_the_curve_is_a_png(run, tmp_path):
    path = curve_png(run, tmp_path / "docs" / "curve.png")
    picture = cv2.imread(str(path))
    assert picture.shape == (736, 1472, 3)
    blue, orange = np.array([178, 114, 0]), np.array([0, 94, 213])  # the two arms' colours, BGR
    for color in (blue, orange):
        assert (np.abs(picture.astype(int) - color).max(axis=-1) < 12).sum() > 500
    assert [p.name for p in path.parent.iterdir()] == ["curve.png"]


@pytest.mark.parametrize(
    ("name", "content", "what", "do"),
    [
        ("predictions.parquet", None, "no predictions yet", "blear evaluate"),
        ("summary.json", None, "no summary yet", "blear evaluate"),
        ("summary.json", "{", "the file: Invalid JSON", "blear evaluate"),
        ("run.json", '{"name": "x", "seed": "often"}', "seed: Input should be a valid integer", "blear evaluate"),
        ("faces.npz", None, "missing", "blear evaluate"),
        ("faces.npz", "not a zip", "cannot be read", "blear evaluate"),
        ("job.yaml", None, "not a run folder", "blear run"),
        ("stages/clean-trained/stage.json", None, "training is not finished: clean-trained", "run its command again"),
        ("stages/clean-trained/log.jsonl", None, "missing", "run its command again"),
        ("stages/clean-trained/log.jsonl", '{"step": 1, "loss": 2}\n{"loss', "line 2 is not a log line", "again"),
        ("stages/clean-trained/log.jsonl", '{"loss": 2}', "line 1 is not a log line: KeyError", "again"),
    ],
)
def test_errors_of_damaged_runs_have_the_file_and_a_remedy(damaged_run, name, content, what, do):
    root = damaged_run
    (root / name).unlink() if content is None else (root / name).write_text(content)
    with pytest.raises(RunError) as caught:
        build(root)
    assert what in caught.value.what
    assert caught.value.where.startswith(str(root))
    assert do in caught.value.do
    assert not (root / "report.html").exists()


def test_a_stage_that_the_job_no_longer_has_is_left_out(damaged_run):
    """Its training failed, and the job of the next run is without it."""
    root = damaged_run
    (root / "stages" / "removed").mkdir()
    (root / "stages" / "removed" / "log.jsonl").write_text('{"step": 1, "loss": 2}\n')
    assert "removed" not in [info.name for info, _ in read_run(root).stages]
    (root / "job.yaml").write_text("name: [")
    with pytest.raises(RunError, match="the stages of the job cannot be read"):
        read_run(root)


def test_faces_of_another_shape_are_an_error(damaged_run):
    root = damaged_run
    np.savez(root / "faces.npz", frames=np.zeros((2, 8, 4, 4, 1)), samples=np.array(["a", "b"]), severities=LEVELS)
    with pytest.raises(RunError, match=r"frames are float64 \(2, 8, 4, 4, 1\), not uint8 \[2, 8, H, W, C\]"):
        build(root)


def test_formatting_of_text():
    assert format_component([{"use": "a/b", "x": 0.5, "none": None}, {"use": "c", "params": {"k": [1, 2]}}]) == (
        "a/b (x=0.5) → c (k=[1, 2])"
    )
    assert format_component([]) == "–"
    assert [duration(s) for s in (3.14, 59.99, 250, 7500, None)] == [
        "3.1 s",
        "60.0 s",
        "4 min 10 s",
        "2 h 5 min",
        "unknown",
    ]
    assert (format_time("2026-03-01T10:00:00"), format_time("soon"), format_time(None)) == (
        "2026-03-01 10:00",
        "soon",
        "unknown",
    )


def test_long_logs_are_thinned_to_means():
    points = np.stack([np.arange(1.0, 901.0), np.tile([0.0, 3.0, 6.0], 300)])
    thin = thinned(points)
    assert thin.shape == (2, 300)
    np.testing.assert_array_equal(thin[0], np.arange(2.0, 901.0, 3))
    np.testing.assert_array_equal(thin[1], np.full(300, 3.0))
