"""The report of a made-up run: facts on the page, figures, errors, and the page in a real browser."""

import html
import json
import re
import subprocess

import cv2
import numpy as np
import pytest
import torch

from blear.contracts import Categories, Metric, Values
from blear.errors import RunError
from blear.evaluate.predictions import read_predictions, rows, write_predictions
from blear.evaluate.summarise import summarise
from blear.metrics import CLASSIFICATION
from blear.report import build, curve_png
from blear.report.figures import _thinned
from blear.report.files import read_results
from blear.report.outcome import outcome
from blear.report.page import component, duration, moment

LEVELS = [1, 2, 3, 4, 6, 8, 12, 16]
CONDITION = "corruptions/downscale"
CLASSES = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def _pearson(truth, prediction):
    return float(np.corrcoef(truth, prediction)[0, 1])


def _rmse(truth, prediction):
    return float(np.sqrt(((truth - prediction) ** 2).mean()))


REGRESSION = (Metric("cc", "CC", _pearson, True), Metric("rmse", "RMSE", _rmse, False))


def _decoded(rng, truth, noise, kind):
    if kind == "value":
        return Values(torch.tensor(truth + noise * rng.normal(size=len(truth)))[:, None])
    logits = rng.normal(size=(len(truth), 1, 7)) * (0.3 + noise)
    logits[np.arange(len(truth)), 0, truth.astype(int)] += 1.5
    return Categories(CLASSES, torch.tensor(logits).softmax(-1))


def make_run(root, kind="value", arms=("clean-trained", "mix-trained"), videos=12, clips=240):
    """A run folder with every file, as the training and evaluation commands write them."""
    rng = np.random.default_rng(5)
    truth = rng.integers(7, size=clips).astype(float) if kind == "class" else rng.uniform(-1, 1, clips)
    keys = [f"dev/{i:04}" for i in range(clips)]
    tables = [
        rows(
            arm=arm,
            stage=arm.replace(" ", "_"),
            condition=CONDITION,
            severity=level,
            target="expression" if kind == "class" else "valence",
            samples=keys,
            truth_B=truth,
            decoded=_decoded(rng, truth, 0.3 + level * (0.12 / (1 + number)), kind),
            videos=[f"video {i % videos}" for i in range(clips)] if videos else None,
            face_px=96 / level,
        )
        for number, arm in enumerate(arms)
        for level in LEVELS
    ]
    root.mkdir()
    write_predictions(root / "predictions.parquet", tables)
    metrics = CLASSIFICATION if kind == "class" else REGRESSION
    table = read_predictions(root / "predictions.parquet")
    summary = summarise(table, metrics, reference=arms[0], seed=0, resamples=100)
    (root / "summary.json").write_text(summary.model_dump_json())
    shown = keys[::80]
    y, x = np.mgrid[:48, :48] / 48
    face = np.stack([200 - 90 * ((x - 0.5) ** 2 + (y - 0.5) ** 2 > 0.16)] * 3, axis=-1).astype(np.uint8)
    face[16:20, [14, 15, 32, 33]] = face[34:36, 18:30] = 40
    smaller = [cv2.resize(face, None, fx=1 / f, fy=1 / f, interpolation=cv2.INTER_AREA) for f in LEVELS]
    frames = np.stack([cv2.resize(small, (48, 48), interpolation=cv2.INTER_CUBIC) for small in smaller])
    np.savez_compressed(root / "faces.npz", frames=np.stack([frames] * 3), samples=np.array(shown), severities=LEVELS)
    _write_facts(root, metrics[0], kind, arms, rng)
    return root


def _write_facts(root, headline, kind, arms, rng):
    (root / "job.yaml").write_text("name: made-up\nstages: {a<b: 1}\n")
    info = {
        "name": "made-up",
        "description": "Downscaled faces, clean against mixed training.",
        "started": "2026-03-01T10:00:00+00:00",
        "finished": "2026-03-01T10:05:30+00:00",
        "seconds": 330.4,
        "command": "blear run jobs/made-up.yaml --profile small",
        "profile": "small",
        "seed": 17,
        "runner": "local",
        "world": 1,
        "device": "CPU",
        "versions": {"blear": "0.1.0", "torch": "2.11.0"},
        "host": {"system": "Linux", "cpus": 2},
        "components": {"faces/procedural": "0.1.0:0123456789ab"},
        "data": {
            "faces": {
                "use": "faces/procedural",
                "for": "vlqr/avec2016",
                "source": None,
                "stand_in": True,
                "terms": "Drawn by this program; free to use.",
                "counts": {"train": 4000, "dev": 240},
            }
        },
        "arms": {arm: {"stage": arm.replace(" ", "_"), "note": f"about {arm}"} for arm in arms},
        "headline": {
            "target": "expression" if kind == "class" else "valence",
            "metric": headline.name,
            "label": headline.label,
            "higher_is_better": headline.higher_is_better,
        },
        "split": "dev",
        "sweep": {"condition": CONDITION, "parameter": "factor", "levels": LEVELS},
    }
    (root / "run.json").write_text(json.dumps(info))
    for number, arm in enumerate(arms):
        folder = root / "stages" / arm.replace(" ", "_")
        folder.mkdir(parents=True)
        decay = np.exp(-np.arange(1, 501) / 80) * 2 + 0.05
        lines = [
            json.dumps({"step": 10 * i, "loss": float(v * rng.uniform(0.8, 1.2)), "lr": 0.01})
            for i, v in enumerate(decay, 1)
        ]
        lines += [
            json.dumps({"step": s, "validation_loss": float(decay[s // 10 - 1] * 1.2)}) for s in (1000, 3000, 5000)
        ]
        (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
        stage = {
            "name": folder.name,
            "data": "faces",
            "backbone": {"use": "vlqr/cnn5x5", "start_from": {"stage": "sr", "take": ["conv1"]}},
            "head": {"use": "vlqr/valence", "dropout": 0.5},
            "degrade": [{"use": "corruptions/scale_mix", "factors": {"3": 1, "4": 1}}] if number else [],
            "steps": 5000,
            "batch_size": 128,
            "parameters": 2946649,
            "trainable": 2946649 - 1664 * number,
            "seconds": 165.2,
            "samples_per_s": 3874.1,
            "transfer": {"from": "sr", "taken": ["conv1.weight"], "skipped": {"conv4.weight": "not in this backbone"}}
            if number
            else None,
        }
        (folder / "stage.json").write_text(json.dumps(stage))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = make_run(tmp_path_factory.mktemp("report") / "run")
    build(root)
    return root


@pytest.fixture(scope="module")
def page(run):
    return (run / "report.html").read_text()


def test_the_page_holds_the_numbers_of_the_summary(run, page):
    summary, _ = read_results(run)
    for e in summary.estimates:
        assert f"<td>{e.value:.3f}<span>[{e.low:.3f}, {e.high:.3f}]</span></td>" in page
    for d in summary.differences:
        assert f"{d.value:.3f}<span>[{d.low:.3f}, {d.high:.3f}]</span>" in page
    assert len(summary.estimates) == 2 * 8 * 2
    assert len(summary.differences) == 8


def test_the_sections_stand_in_order(page):
    headings = re.findall(r"<h[12]>(.*?)</h[12]>", page)
    assert headings == ["made-up", "Robustness", "Sample faces", "Learning curves", "What was run", "Reproduce"]


def test_the_page_loads_nothing_and_escapes_what_it_shows(page):
    assert re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", page) == []
    assert "@import" not in page
    assert "<script" not in page
    assert not re.search(r"url\((?!#)", page)
    assert "stages: {a&lt;b: 1}" in page


def test_ids_are_unique_and_references_lead_somewhere(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    used = re.findall(r'href="#([^"]+)"', page) + re.findall(r"url\(#([^)]+)\)", page)
    assert used
    assert set(used) <= set(ids)


def test_facts_of_the_run_are_stated(page):
    for fact in (
        "Stand-in data.",
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
    summary, info = read_results(run)
    first, counted, mildest = outcome(summary, info)
    mix, clean = (summary.estimate(arm, CONDITION, 6) for arm in ("mix-trained", "clean-trained"))
    assert first == (
        f"At factor 6, mix-trained reaches CC {mix.value:.3f} [{mix.low:.3f}, {mix.high:.3f}], "
        f"where clean-trained reaches {clean.value:.3f} [{clean.low:.3f}, {clean.high:.3f}]."
    )
    better = sum(bool(d.excludes_zero) and d.value > 0 for d in summary.differences)
    worse = sum(bool(d.excludes_zero) and d.value < 0 for d in summary.differences)
    assert better >= 5
    assert counted.startswith(
        f"Of 8 levels it is better at {better}, worse at {worse}, and undecided at {8 - better - worse},"
    )
    assert mildest.startswith("At factor 1: ")


def test_an_upper_bound_is_never_the_outcome(run):
    summary, info = read_results(run)
    bound = info.arms["mix-trained"].model_copy(update={"clean": True})
    info = info.model_copy(update={"arms": info.arms | {"mix-trained": bound}})
    (sentence,) = outcome(summary, info)
    assert sentence.startswith("clean-trained reaches CC ")
    assert "mix-trained" not in sentence


def test_lower_is_better_turns_the_verdict(run):
    """With RMSE as the headline the mixed arm has negative differences, and is called better."""
    metrics = REGRESSION[::-1]
    summary = summarise(
        read_predictions(run / "predictions.parquet"), metrics, reference="clean-trained", seed=0, resamples=100
    )
    _, info = read_results(run)
    headline = info.headline.model_copy(update={"metric": "rmse", "label": "RMSE", "higher_is_better": False})
    info = info.model_copy(update={"headline": headline})
    better = sum(bool(d.excludes_zero) and d.value < 0 for d in summary.differences)
    assert better >= 5
    assert f"better at {better}, worse at 0" in outcome(summary, info)[1]


def test_classes_are_named_and_marked(tmp_path):
    root = make_run(tmp_path / "run", kind="class", videos=0)
    page = build(root).read_text()
    rows_ = [r for r in read_predictions(root / "predictions.parquet").to_pylist() if r["sample"] == "dev/0080"]
    assert f"truth: {CLASSES[int(rows_[0]['truth'])]}" in page
    right = sum(page.count(f'<td class="good">✓ {name}</td>') for name in CLASSES)
    wrong = sum(page.count(f'<td class="bad">✗ {name}</td>') for name in CLASSES)
    assert right + wrong == 3 * 2 * 8
    shown = [r for r in read_predictions(root / "predictions.parquet").to_pylist() if r["sample"] in _shown(root)]
    assert right == sum(r["truth"] == r["prediction"] for r in shown)
    assert "draws whole samples" in page
    assert "Mean over videos" not in page


def _shown(root):
    with np.load(root / "faces.npz") as arrays:
        return set(arrays["samples"].tolist())


def test_one_arm_and_two_videos_make_an_honest_page(tmp_path):
    page = build(make_run(tmp_path / "run", arms=("only",), videos=2)).read_text()
    assert "No intervals: only 2 video(s) to resample." in page
    assert "Difference from" not in page
    assert re.search(r"only reaches CC 0\.\d+ at factor 1, 0\.\d+ at factor 6\.", page)


def test_the_curve_as_a_picture(run, tmp_path):
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
        ("stages/clean-trained/stage.json", None, "not trained to the end: clean-trained", "give its command again"),
        ("stages/clean-trained/log.jsonl", None, "missing", "give its command again"),
        ("stages/clean-trained/log.jsonl", '{"step": 1, "loss": 2}\n{"loss', "line 2 is not a log line", "again"),
        ("stages/clean-trained/log.jsonl", '{"loss": 2}', "line 1 is not a log line: KeyError", "again"),
    ],
)
def test_damaged_runs_say_which_file_and_what_to_do(tmp_path, name, content, what, do):
    root = make_run(tmp_path / "run", clips=30)
    (root / name).unlink() if content is None else (root / name).write_text(content)
    with pytest.raises(RunError) as caught:
        build(root)
    assert what in caught.value.what
    assert caught.value.where.startswith(str(root))
    assert do in caught.value.do
    assert not (root / "report.html").exists()


def test_faces_of_another_shape_are_refused(tmp_path):
    root = make_run(tmp_path / "run", clips=30)
    np.savez(root / "faces.npz", frames=np.zeros((2, 8, 4, 4, 1)), samples=np.array(["a", "b"]), severities=LEVELS)
    with pytest.raises(RunError, match=r"frames are float64 \(2, 8, 4, 4, 1\), not uint8 \[2, 8, H, W, C\]"):
        build(root)


def test_small_texts():
    assert component([{"use": "a/b", "x": 0.5, "none": None}, {"use": "c", "params": {"k": [1, 2]}}]) == (
        "a/b (x=0.5) → c (k=[1, 2])"
    )
    assert component([]) == "–"
    assert [duration(s) for s in (3.14, 59.99, 250, 7500, None)] == [
        "3.1 s",
        "60.0 s",
        "4 min 10 s",
        "2 h 5 min",
        "unknown",
    ]
    assert (moment("2026-03-01T10:00:00"), moment("soon"), moment(None)) == ("2026-03-01 10:00", "soon", "unknown")


def test_long_logs_are_thinned_to_means():
    points = np.stack([np.arange(1.0, 901.0), np.tile([0.0, 3.0, 6.0], 300)])
    thin = _thinned(points)
    assert thin.shape == (2, 300)
    np.testing.assert_array_equal(thin[0], np.arange(2.0, 901.0, 3))
    np.testing.assert_array_equal(thin[1], np.full(300, 3.0))


_PROBE = """<script>
const out = {width: document.documentElement.scrollWidth, window: innerWidth,
  broken: [...document.images].filter(i => !i.complete || !i.naturalWidth).length, images: document.images.length,
  curves: [...document.querySelectorAll('.chart svg')].filter(s => s.getBoundingClientRect().width > 0)
    .map(s => s.classList[0]),
  requests: performance.getEntriesByType('resource').map(r => r.name).filter(n => !n.startsWith('data:'))};
document.title = JSON.stringify(out);
</script></body>"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1200])
def test_the_page_in_a_browser(run, page, chromium, tmp_path, width):
    """The page as a reader sees it, framed at a phone's and a desktop's width."""
    probed = page.replace("</body>", _PROBE)
    probed = re.sub(r"<meta http-equiv=\"Content-Security-Policy\".*?>", "", probed)  # it would stop the probe
    frame = (
        f'<body style="margin:0"><iframe width="{width}" height="3000" style="border:0" '
        f'srcdoc="{html.escape(probed)}" onload="document.title=this.contentDocument.title"></iframe></body>'
    )
    (tmp_path / "frame.html").write_text(f"<!DOCTYPE html><html><head><meta charset=utf-8></head>{frame}</html>")
    dom = _chromium(chromium, tmp_path, "--dump-dom", (tmp_path / "frame.html").as_uri())
    seen = json.loads(html.unescape(re.search(r"<title>(.*?)</title>", dom, re.DOTALL).group(1)))
    assert seen["window"] == width
    assert seen["width"] <= width  # wide tables scroll inside their boxes
    assert (seen["images"], seen["broken"]) == (3 * 8, 0)
    kind = "narrow" if width < 640 else "wide"
    assert seen["curves"] == [f"curve-{kind}", f"learning-{kind}"]
    assert seen["requests"] == []


@pytest.mark.browser
def test_the_browser_accepts_the_pages_own_policy(run, chromium, tmp_path):
    """Styles and pictures pass the Content-Security-Policy that forbids everything else; all text is in the DOM."""
    dom = _chromium(chromium, tmp_path, "--dump-dom", (run / "report.html").as_uri())
    text = html.unescape(re.sub(r"<(style|svg).*?</\1>|<[^>]+>", " ", dom, flags=re.DOTALL))
    summary, _ = read_results(run)
    for e in summary.estimates:
        assert f"{e.value:.3f}" in text
    assert "At factor 6, mix-trained reaches CC" in text
    shot = tmp_path / "page.png"
    _chromium(chromium, tmp_path, f"--screenshot={shot}", "--window-size=1200,1400", (run / "report.html").as_uri())
    picture = cv2.imread(str(shot))
    assert picture.shape[1] == 1200
    assert (np.abs(picture.astype(int) - np.array([178, 114, 0])).max(axis=-1) < 12).sum() > 300  # styled, with a curve


def _chromium(command, folder, *arguments):
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars"
    profile = f"--user-data-dir={folder / 'profile'}"
    done = subprocess.run(
        [command, *flags.split(), profile, *arguments], capture_output=True, text=True, timeout=100, check=True
    )
    return done.stdout
