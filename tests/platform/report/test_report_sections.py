"""Sections of the report against the predictions table: conditions, confusion, mistakes, several runs, files."""

import csv
import html
import json
import re
import shutil
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner
from report_runs import CLASSES, make_run

from blear.cli import cli
from blear.errors import RunError
from blear.evaluate.mistakes import worst_mistakes
from blear.evaluate.predictions import read_predictions
from blear.evaluate.statistics.results import RobustnessScore
from blear.evaluate.summarise import SummaryOptions
from blear.job.schema import Equivalent
from blear.report import build, compare
from blear.report.curves import limits, panel_curve
from blear.report.drawing import panel, style, svg
from blear.report.figure import Figure, Panel, slug, unique_names
from blear.report.levels import displayed_levels
from blear.report.pictures import picture_uri
from blear.report.run_files import read_run
from blear.report.sections import confusion, learning
from blear.report.text import format_p_value
from blear.report.theme import ARM_COLORS, COLORS
from blear.report.view import build_view

CONDITIONS = ("corruptions/downscale", "soft")
LEVELS = [1, 2, 4]
FLIP = RobustnessScore(
    arm="max-mix",
    name="flip_rate",
    metric="flip_rate",
    condition="soft",
    severity=2,
    value=0.0625,
    low=0.03,
    high=0.125,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    two = ("clean-trained", "mix-trained")
    shape = {"kind": "class", "conditions": CONDITIONS, "levels": LEVELS, "clean": True, "clips": 120, "missed": 0.1}
    return [make_run(root / "a", arms=two, **shape), make_run(root / "b", arms=two[:1], **shape, videos=6)]


@pytest.fixture(scope="module")
def page(runs):
    return build(runs[0]).read_text()


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run with every section: (folder, page, summary)."""
    options = SummaryOptions(
        [Equivalent(margin=0.05, of="max-mix", against="experts")],
        ["truth", "video"],
        "clean-trained",
        temperatures={("max-mix", "max-mix", 0): 1.7},
    )
    run = make_run(
        tmp_path_factory.mktemp("full") / "run",
        "class",
        ("clean-trained", "max-mix", "experts"),
        clips=160,
        videos=16,
        conditions=CONDITIONS,
        levels=LEVELS,
        clean=True,
        codecs=[("h264", 1), ("h264", 2), ("hevc", 1)],
        options=options,
    )
    summary = read_run(run).summary
    summary = summary.model_copy(update={"scalars": [*summary.scalars, FLIP]})
    (run / "summary.json").write_text(summary.model_dump_json())
    return run, build(run).read_text(), read_run(run).summary


def table_of(run):
    return read_predictions(run / "predictions.parquet").to_pylist()


def of_figure(run, name):
    with (run / "figures" / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_condition_has_a_panel_and_its_values(runs, page):
    names = sorted(p.name for p in (runs[0] / "figures").glob("robustness*"))
    assert names == ["robustness-corruptions-downscale.svg", "robustness-soft.svg", "robustness.csv"]
    assert page.count('aria-label="Line chart of Accuracy under') == 2
    rows = of_figure(runs[0], "robustness")
    assert {(r["condition"], float(r["severity"])) for r in rows} == {
        ("clean", 0),
        *((c, level) for c in CONDITIONS for level in LEVELS),
    }
    assert "Of 6 levels of 2 conditions it is better at" in page
    assert "Accuracy on clean frames" in page


def test_bands_are_whole_in_every_panel(runs):
    """One estimate has an interval four times as wide as the range of all values."""
    view = build_view([read_run(runs[0])])
    values = [e.value for e in view.summary.estimates if e.metric == "accuracy"]
    span = max(values) - min(values)
    wide = [
        e.model_copy(update={"low": e.value - 2 * span, "high": e.value + 2 * span}) if e.condition == "soft" else e
        for e in view.summary.estimates
    ]
    view = replace(view, summary=view.summary.model_copy(update={"estimates": wide}))
    for sweep in view.sweeps:
        (axes,) = panel_curve(view, sweep, limits(view), titled=True).axes
        drawn = np.concatenate([path.vertices[:, 1] for band in axes.collections for path in band.get_paths()])
        ends = [v for e in wide if e.condition == sweep.condition and e.metric == "accuracy" for v in (e.low, e.high)]
        assert (drawn.min(), drawn.max()) == pytest.approx((min(ends), max(ends)))
        low, high = axes.get_ylim()
        assert low < drawn.min() < drawn.max() < high


def test_confusion_counts_are_those_of_the_rows(runs, page):
    """Counts the rows with a found face at each selected level again."""
    rows = of_figure(runs[0], "confusion")
    places = {(r["condition"], float(r["severity"])) for r in rows}
    assert {("clean", 0.0), (CONDITIONS[0], 2.0), (CONDITIONS[0], 4.0)} <= places
    view = build_view([read_run(runs[0])])
    means = {
        (sweep.condition, level): np.mean([view.estimate(a.label, sweep.condition, level).value for a in view.arms])
        for sweep in view.sweeps
        for level in sweep.levels
    }
    worst = min(means, key=means.get)
    assert places == {("clean", 0.0), (CONDITIONS[0], 2.0), (CONDITIONS[0], 4.0), worst}
    assert [(p.condition, p.severity) for p in displayed_levels(view)][-1] == worst or len(places) == 3
    table = table_of(runs[0])
    for row in rows:
        same = [
            t
            for t in table
            if t["found"]
            and (t["arm"], t["condition"], t["severity"]) == (row["arm"], row["condition"], float(row["severity"]))
        ]
        truth, said = CLASSES.index(row["truth"]), CLASSES.index(row["said"])
        assert int(row["count"]) == sum((t["truth"], t["prediction"]) == (truth, said) for t in same)
    assert page.count('aria-label="Confusion matrix of') == len(places) * 2


def test_the_worst_mistakes_are_the_most_confident_errors(runs, page):
    table = [t for t in table_of(runs[0]) if t["found"] and t["arm"] == "mix-trained"]
    wrong = {}
    for t in table:
        if t["prediction"] != t["truth"] and t["condition"] != "clean":
            wrong[t["sample"]] = max(wrong.get(t["sample"], 0), max(t["probabilities"]))
    shown = [r for r in of_figure(runs[0], "mistakes") if r["arm"] == "mix-trained"]
    degraded = [r for r in shown if r["condition"] != "clean"]
    assert [float(r["badness"]) for r in degraded] == sorted(wrong.values(), reverse=True)[:6]
    assert all(r["condition"] == "clean" for r in shown[: len(shown) - 6])
    for r in shown:
        assert f"✗ {r['said']} {100 * float(r['badness']):.0f} %" in page
    section = page[page.index('id="mistakes"') : page.index('id="learning"')]
    assert section.count("<img") == section.count("<li>") == len(of_figure(runs[0], "mistakes"))


def cells_of(page, section):
    """Returns the texts of the table cells of a section, without tags."""
    text = page[page.index(f'<section id="{section}">') :]
    text = text[: text.index("</section>")]
    return [
        html.unescape(re.sub(r"<[^>]+>", "|", cell)).strip("|")
        for cell in re.findall(r"<td[^>]*>(.*?)</td>", text, re.DOTALL)
    ]


def test_tests_have_difference_p_and_corrected_p(full):
    run, page, summary = full
    cells = cells_of(page, "tests")
    assert {test.method for test in summary.tests} == {"permutation"}
    for test in summary.tests:
        sign = "+" if test.difference > 0 else ""
        better = "better" if test.difference > 0 else "worse"
        word = "undecided" if test.holm >= 0.05 else better
        assert any(
            cell.startswith(
                f"{sign}{test.difference:.3f}|p {format_p_value(test.p)}||Holm {format_p_value(test.holm)}|"
            )
            and cell.endswith(word)
            for cell in cells
        )
    assert [float(r["holm"]) for r in of_figure(run, "tests")] == [test.holm for test in summary.tests]
    overall = next(e for e in summary.equivalence if e.condition is None)
    text = "equivalent at every level" if overall.equivalent else "not shown to be equivalent"
    assert "max-mix against experts, margin 0.050: " in page
    assert f"{text}</strong>, largest p {format_p_value(overall.p)}" in page


def test_robustness_scores_are_in_one_table(full):
    run, page, summary = full
    cells = cells_of(page, "scalars")
    shown = [s for s in summary.scalars if s.condition is None or s.name in ("worst", "mean_condition", "flip_rate")]
    names = {"mean", "relative_drop", "worst", "mce", "relative_mce", "mean_condition", "flip_rate"}
    assert {s.name for s in shown} == names
    for s in shown:
        assert any(cell.startswith(f"{s.value:.3f}|[{s.low:.3f}, {s.high:.3f}]") for cell in cells), s
    assert len(of_figure(run, "scalars")) == len(summary.scalars)


def test_rate_curves_and_bjontegaard_differences(full):
    run, page, summary = full
    assert sorted(p.name for p in (run / "figures").glob("rate*")) == ["rate-h264.svg", "rate-hevc.svg", "rate.csv"]
    rows = of_figure(run, "rate")
    assert len(rows) == sum(len(curve.points) for curve in summary.rates)
    assert {(r["codec"], r["factor"]) for r in rows} == {
        ("h264", "shrink 1"),
        ("h264", "shrink 2"),
        ("h264", "hull"),
        ("hevc", "shrink 1"),
    }
    cells = cells_of(page, "rate")
    for bd in summary.bd:
        if bd.value is None:
            assert bd.undefined in page
        elif bd.kind == "rate":
            assert any(re.match(rf"\+?{bd.value:.1f} %", cell) for cell in cells), bd
    assert "kbit/s" in (run / "figures" / "rate-h264.svg").read_text()


def test_calibration_of_the_selected_levels(full):
    run, page, summary = full
    places = displayed_levels(build_view([read_run(run)]))
    cells = cells_of(page, "calibration")
    for place in places:
        for c in summary.calibration:
            if (c.condition, c.severity) == (place.condition, place.severity):
                wanted = [
                    f"{value:.3f}" for value in (c.scores.ece, c.scores.ece_mass, c.scores.brier, c.scores.nll, c.aurc)
                ]
                if c.arm == "max-mix":
                    wanted += [f"{value:.3f}" for value in (1.7, c.scaled.ece, c.scaled.nll)]
                else:
                    wanted += ["–"] * 3
                assert any(cells[i : i + 8] == wanted for i in range(len(cells) - 7)), (c.arm, place)
    bins = of_figure(run, "reliability")
    for flag, of in (("False", summary.calibration), ("True", [c for c in summary.calibration if c.arm == "max-mix"])):
        assert sum(int(r["n"]) for r in bins if r["scaled"] == flag) == sum(c.n for c in of)
    assert len(list((run / "figures").glob("reliability-*.svg"))) == len(places)


def test_a_displayed_level_has_the_label_of_its_condition(tmp_path):
    run = make_run(tmp_path / "run", conditions=("corruptions/downscale", "H.264 at 1/2"), levels=LEVELS)
    info = json.loads((run / "run.json").read_text())
    info["sweeps"][1]["use"] = "codec/h264"
    (run / "run.json").write_text(json.dumps(info))
    texts = [place.text for place in displayed_levels(build_view([read_run(run)]))]
    assert "downscale factor 4" in texts
    assert "H.264 at 1/2 factor 4" in texts


def test_small_slices_are_marked(full):
    run, page, summary = full
    shown = {(p.condition, p.severity) for p in displayed_levels(build_view([read_run(run)]))}
    cells = cells_of(page, "slices")
    for s in summary.slices:
        if (s.condition, s.severity) in shown:
            few = ", few" if s.small else ""
            span = "" if s.low is None else f"|[{s.low:.3f}, {s.high:.3f}]|"
            assert f"{s.value:.3f}{span}|{s.n} decisions{few}" in cells, s
    assert len(of_figure(run, "slices")) == len(summary.slices)


def test_mistakes_of_regression_are_the_largest_errors(tmp_path):
    root = make_run(tmp_path / "run", arms=("only",), clips=60, levels=LEVELS)
    table = read_predictions(root / "predictions.parquet")
    rows = [(abs(t["truth"] - t["prediction"]), t["sample"]) for t in table.to_pylist()]
    best = {}
    for error, sample in rows:
        best[sample] = max(best.get(sample, 0), error)
    found = worst_mistakes(table, "only", 4)
    assert [m.error for m in found] == sorted(best.values(), reverse=True)[:4]
    assert all(m.truth_probability is None for m in found)


def test_svg_files_stand_alone(runs, page):
    """The files are well-formed and independent of the page: no variables, scripts or URLs, all references resolve."""
    assert page
    for path in (runs[0] / "figures").glob("*.svg"):
        text = path.read_text()
        ids = {e.get("id") for e in ElementTree.fromstring(text).iter()}
        used = {e.get("{http://www.w3.org/1999/xlink}href") for e in ElementTree.fromstring(text).iter()} - {None}
        assert {name[1:] for name in used} <= ids
        assert "var(" not in text
        assert "<script" not in text
        assert text.count("http") == text.count("http://www.w3.org/")
        assert COLORS["card"][0] in text


def test_several_runs_on_one_page(runs):
    """Arms of the same name get their run's; differences are paired with the first arm, on the samples of both."""
    done = CliRunner().invoke(cli, ["report", *map(str, runs)])
    out = runs[0].parent / "comparison"
    assert done.output.strip() == str(out / "report.html")
    page = (out / "report.html").read_text()
    view = build_view([read_run(run) for run in runs])
    assert [arm.label for arm in view.arms] == ["a/clean-trained", "mix-trained", "b/clean-trained"]
    own = {(e.condition, e.severity, e.metric): e.value for e in read_run(runs[1]).summary.estimates}
    for key, value in own.items():
        assert view.estimate("b/clean-trained", *key).value == value
    d = view.difference("b/clean-trained", "soft", 4.0)
    first = view.estimate("a/clean-trained", "soft", 4.0).value
    assert d.value == pytest.approx(view.estimate("b/clean-trained", "soft", 4.0).value - first)
    assert d.low < d.value < d.high
    assert "2 runs" in page
    assert not (out / "job.yaml").exists()
    assert {r["arm"] for r in of_figure(out, "robustness")} == {arm.label for arm in view.arms}


def test_the_command_writes_the_curve(tmp_path):
    run = make_run(tmp_path / "run", arms=("only",), clips=30, levels=LEVELS)
    done = CliRunner().invoke(cli, ["report", str(run), "--curve", str(tmp_path / "curve.png")])
    assert done.output.split() == [str(run / "report.html"), str(tmp_path / "curve.png")]
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_runs_with_different_evaluations_have_no_page(runs, tmp_path):
    values = make_run(tmp_path / "values", clips=30, levels=LEVELS)
    with pytest.raises(RunError, match="its target is 'valence', that of a is 'expression'"):
        compare([runs[0], values], tmp_path / "out")
    other = shutil.copytree(runs[1], tmp_path / "other")
    info = json.loads((other / "run.json").read_text())
    info["sweeps"][0]["parameter"] = "severity"
    (other / "run.json").write_text(json.dumps(info))
    with pytest.raises(RunError, match="sweeps severity here, factor in a"):
        compare([runs[0], other], tmp_path / "out")
    with pytest.raises(RunError, match="this is a run folder"):
        compare(runs, runs[1])
    with pytest.raises(RunError, match="an arm is given twice"):
        compare([runs[0], runs[0]], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("theme", [0, 1])
def test_arm_colours_have_contrast_and_are_distinguishable(theme):
    """Contrast of at least 3 with the card; for every kind of colour vision the first six keep apart (CIE Lab)."""
    card = _linear(COLORS["card"][theme])
    colors = [_linear(pair[theme]) for pair in ARM_COLORS]
    for color in colors:
        low, high = sorted([_luminance(color), _luminance(card)])
        assert (high + 0.05) / (low + 0.05) >= 3
    for matrix in (np.eye(3), _PROTAN, _DEUTAN):
        lab = [_lab(np.clip(matrix @ color, 0, 1)) for color in colors[:6]]
        apart = [np.linalg.norm(a - b) for i, a in enumerate(lab) for b in lab[:i]]
        assert min(apart) >= 10, min(apart)


_PROTAN = np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]])
_DEUTAN = np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]])
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB


def _linear(text):
    values = np.array([int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _luminance(linear):
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _lab(linear):
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ linear / np.array([0.9505, 1.0, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _titled(title, tick="0"):
    with style():
        figure, axes = panel()
        axes.set_title(title)
        axes.set_yticks([0.5], labels=[tick])
    return figure


def test_panels_whose_names_are_the_same_for_files_keep_their_own_drawings(tmp_path):
    """`slug` has no letters for names in Chinese; their fonts are those of the browser."""
    arms = ("甲", "乙")
    figure = Figure("confusion", "", [Panel(f"confusion-{slug(arm)}", arm, _titled(arm)) for arm in arms], [])
    figure.save(tmp_path)
    assert [name in text for name, (_, text) in zip(arms, figure.drawings, strict=True)] == [True, True]
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "confusion-x-0.svg",
        "confusion-x-1.svg",
        "confusion.csv",
    ]
    assert [name for name, _ in figure.downloads] == ["confusion.csv", "confusion-x-0.svg", "confusion-x-1.svg"]
    assert unique_names(["x", "y", "x", "x-2"]) == ["x-0", "y", "x-3", "x-2"]


def test_names_in_figures_are_no_formulas_and_keep_their_numbers():
    found = svg(_titled("from $5 to $6_", "1: 0.1234 to 0.5678"))
    texts = re.findall("<text[^>]*>([^<]*)</text>", found)
    assert {"from $5 to $6_", "1: 0.1234 to 0.5678"} <= set(texts)
    assert not re.search(r"[0-9]\.[0-9]{3}", re.sub("<text[^>]*>[^<]*</text>", "", found))


def test_a_logarithmic_loss_has_plain_labels():
    losses = np.stack([np.arange(50), np.geomspace(20, 0.05, 50)])
    found = svg(learning.canvas("sr", "loss", losses, np.empty((2, 0))))
    assert {"0.1", "1", "10"} <= set(re.findall("<text[^>]*>([^<]*)</text>", found))


def test_confusion_of_long_names_and_of_many_classes():
    names = [f"{word} as the annotators of this dataset understood this expression" for word in ("calm", "happy")]
    found = svg(confusion.canvas("a", "factor 2", names, np.array([[1.0, 0.0], [np.nan, np.nan]])))
    assert "calm as t…pression" in found
    many = np.eye(60)
    found = svg(confusion.canvas("a", "factor 2", [f"class {i}" for i in range(60)], many))
    assert found.count("var(--heat)") + found.count(COLORS["heat"][0]) == 60  # none of the 3,540 empty cells
    assert "class 7" not in found


def test_the_description_of_a_confusion_matrix_names_absent_classes(full):
    _, page, summary = full
    (one, *_) = (c for c in summary.confusion if c.condition == "clean")
    counts = [[0] * 7, *one.counts[1:]]
    changed = one.model_copy(update={"counts": counts})
    view = build_view([read_run(full[0])])
    section = confusion.section(replace(view, summary=summary.model_copy(update={"confusion": [changed]})))
    assert "recall: anger absent, disgust " in section.figures[0].panels[0].alt
    assert " absent" not in page


def test_very_wide_pictures():
    assert picture_uri(np.zeros((2, 900, 3), np.uint8)).startswith("data:image/webp;base64,")
