"""`blear card`: models of anyone under a suite of degradations."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import blear
from blear.card.label_order import better_order
from blear.card.make import Card, CardOptions, make_card
from blear.card.suites import find_suite, suites
from blear.cli import cli
from blear.errors import BlearError, JobError, RunError
from blear.evaluate.compare import compare_runs
from blear.evaluate.predictions import read_predictions
from blear.evaluate.summary import read_summary
from blear.train.macs import count_macs

SHIPPED = {
    "faces": (1, "3ed16d81"),
    "full": (1, "a3c640ba"),
    "quick": (1, "d124a9b6"),
}
"""Suite -> version and first digits of its digest: raise the version of a suite whose digest changes."""


def options(colours: Path, **changed) -> CardOptions:
    values = {"data": str(colours / "pictures"), "params": {"size": 20}, "suite": str(colours / "suite.yaml")}
    return CardOptions(**{**values, "resamples": 100, **changed})


@pytest.fixture(scope="module")
def card(colours: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Card, Path]:
    """A card of two callables."""
    out = tmp_path_factory.mktemp("card")
    names = [f"means={colours}/models.py:Means", f"corner={colours}/models.py:Corner"]
    return make_card(names, options(colours, faces=2, slices=("truth",)), out), out


def test_accuracies_are_those_of_the_degraded_pictures(card: tuple[Card, Path], colours: Path) -> None:
    summary = read_summary(card[1] / "summary.json")
    files = sorted((colours / "pictures" / "test").glob("*/*.png"))
    from PIL import Image

    clean = np.stack([np.array(Image.open(file)) for file in files])
    names = [file.parent.name for file in files]
    for sigma in (40, 120):
        noisy = blear.degrade(
            torch.from_numpy(clean).permute(0, 3, 1, 2) / 255, [{"use": "noise", "sigma": sigma}], seed=3
        )
        means = torch.as_tensor(noisy).clamp(0, 1).mean(dim=(2, 3)).numpy()
        decided = [("red", "green", "blue")[index] for index in means.argmax(axis=1)]
        estimate = summary.estimate("means", "noise", sigma)
        assert estimate is not None
        assert estimate.value == np.mean([ours == theirs for ours, theirs in zip(decided, names, strict=True)])
    clean_estimate = summary.estimate("means", "clean", 0.0)
    assert clean_estimate is not None
    assert clean_estimate.value == 1.0


def test_two_models_are_compared_on_the_same_pictures(card: tuple[Card, Path]) -> None:
    summary = card[0].summary
    assert summary.reference == "means"
    test = summary.headline_test("corner", "clean", 0.0)
    assert test is not None
    assert test.difference is not None
    assert test.difference < -0.2
    assert test.significant
    assert {(s.arm, s.name) for s in summary.scalars if s.name == "mce"} == {("means", "mce"), ("corner", "mce")}
    curves = {(curve.arm, curve.codec, len(curve.points)) for curve in summary.rates}
    assert curves == {("means", "jpeg", 4), ("corner", "jpeg", 4)}
    assert {s.group for s in summary.slices} == {"red", "green", "blue"}


def test_the_page_and_the_text_hold_numbers_and_facts(card: tuple[Card, Path], colours: Path) -> None:
    page, text = (card[1] / "card.html").read_text(), (card[1] / "card.md").read_text()
    info = json.loads((card[1] / "run.json").read_text())
    for words in ("noise and JPEG files", "What these numbers are good for", "own_data/folders"):
        assert words in page
        assert words in text
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "| means | 100.0 [100.0, 100.0] |" in text
    assert str(colours) not in text + page + json.dumps(info["data"])
    assert info["data"]["data"]["classes"] == {"blue": 12, "green": 12, "red": 12}
    table = read_predictions(card[1] / "predictions.parquet")
    assert table.num_rows == 2 * 9 * 36
    np.testing.assert_allclose([sum(row) for row in table["probabilities"].to_pylist()], 1, atol=1e-5)


def test_cards_can_be_compared_only_under_the_same_suite(
    card: tuple[Card, Path], colours: Path, tmp_path: Path
) -> None:
    again = make_card([f"again={colours}/models.py:Means"], options(colours), tmp_path / "again")
    both = compare_runs([f"{card[1]}:means", str(tmp_path / "again")], resamples=50)
    assert [d.value for d in both.differences] == [0.0] * 9
    assert again.info["data"]["data"]["sha256"] == card[0].info["data"]["data"]["sha256"]
    changed = tmp_path / "suite.yaml"
    changed.write_text((colours / "suite.yaml").read_text().replace("seed: 3", "seed: 4"))
    make_card([f"other={colours}/models.py:Means"], options(colours, suite=str(changed)), tmp_path / "other")
    with pytest.raises(RunError, match="its suite is"):
        compare_runs([str(card[1]), str(tmp_path / "other")], resamples=50)


def test_classes_match_by_name_only(colours: Path, tmp_path: Path) -> None:
    name = f"{colours}/models.py:Renamed"
    proposal = "--labels 'reddish=red,greenish=green,grey='"
    with pytest.raises(RunError, match="its classes are reddish, greenish, Blue, grey") as error:
        make_card([name], options(colours), tmp_path)
    assert proposal in error.value.do
    made = make_card([f"m={name}"], options(colours, labels=("reddish=red,greenish=green,grey=",)), tmp_path)
    assert made.info["models"]["m"]["matched"] == {"reddish": "red", "greenish": "green", "Blue": "blue", "grey": None}
    estimate = made.summary.estimate("m", "clean", 0.0)
    assert estimate is not None
    assert estimate.value == 1.0


def test_a_class_of_the_data_can_be_left_out(colours: Path, tmp_path: Path) -> None:
    model = tmp_path / "two.py"
    model.write_text(
        (colours / "models.py").read_text() + "class Two(Means):\n"
        '    metadata = {"index2label": {0: "red", 1: "green"}}\n'
        "    def __call__(self, batch):\n        return super().__call__(batch)[:, :2]\n"
    )
    with pytest.raises(RunError, match="those of the data blue, green, red") as error:
        make_card([f"{model}:Two"], options(colours), tmp_path / "card")
    assert "--labels '=blue'" in error.value.do
    made = make_card([f"two={model}:Two"], options(colours, labels=("= Blue",)), tmp_path / "card")
    assert made.info["data"]["data"]["left_out"] == {"blue": 12}
    assert made.summary.classes == ["green", "red"]


def test_predictions_on_left_out_classes_alone_are_counted(colours: Path, tmp_path: Path) -> None:
    model = tmp_path / "unsure.py"
    model.write_text(
        (colours / "models.py").read_text() + "class Some(Renamed):\n"
        "    every = 9\n"
        "    def __call__(self, batch):\n"
        "        scores = super().__call__(batch)\n"
        "        scores[:: self.every] = 0, 0, 0, 1\n"
        "        return scores\n"
        "class All(Some):\n    every = 1\n"
    )
    values = options(colours, labels=("reddish=red,greenish=green,grey=",))
    made = make_card([f"m={model}:Some"], values, tmp_path / "card")
    (warning,) = made.info["warnings"]
    assert warning.startswith("m: 36 of 324 predictions have no probability outside the classes that --labels")
    assert f"**Warning.** {warning}." in made.text
    probabilities = read_predictions(tmp_path / "card" / "predictions.parquet")["probabilities"].to_pylist()
    np.testing.assert_allclose(probabilities[::9], 1 / 3, rtol=1e-6)
    with pytest.raises(RunError, match=r"36 of 36 predictions have no probability outside .* \(grey\)") as error:
        make_card([f"m={model}:All"], values, tmp_path / "all")
    assert "--labels grey=CLASS" in error.value.do


def test_labels_in_a_wrong_order_are_noticed() -> None:
    counts = np.array([[0, 9, 1], [1, 0, 9], [8, 2, 0]])
    text = better_order(counts, ("red", "green", "blue"))
    assert "accuracy on clean pictures is 0.000, and 0.867 if the outputs had other names" in text
    assert "green would be red, blue would be green, red would be blue" in text
    assert better_order(counts.T[[1, 2, 0]], ("red", "green", "blue")) == ""


def test_a_shipped_model_and_a_table(colours: Path, tmp_path: Path) -> None:
    model = blear.load("robust-faces")
    names = model.labels["emotion"]
    lines = [f"pictures/test/red/{number:02}.png,{names[number % 7]}" for number in range(12)]
    (colours / "faces.csv").write_text("path,emotion\n" + "\n".join(lines) + "\n")
    values = options(colours, data=str(colours / "faces.csv"), split="all", params={"size": 48})
    made = make_card(["robust-faces"], values, tmp_path)
    assert made.info["models"]["robust-faces"]["parameters"] == model.card.parameters
    macs = count_macs(model, torch.zeros(1, 1, 1, 48, 48))
    assert made.info["models"]["robust-faces"]["macs"] == macs
    assert f"| robust-faces | 1 x 1 x 48 x 48 | {macs / 1e6:,.3g} |" in made.text
    assert made.info["data"]["data"]["counts"] == {"all": 12}
    table = read_predictions(tmp_path / "predictions.parquet")
    clean = table.filter(np.array(table["condition"].to_pylist()) == "clean")
    assert clean.num_rows == 12


def test_the_command_prints_the_table(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(colours / "models.py", tmp_path / "my_models.py")
    command = ["card", "m=my_models:Means", str(colours / "pictures"), "--suite", str(colours / "suite.yaml")]
    result = CliRunner().invoke(cli, [*command, "--limit", "20", "--resamples", "50"], catch_exceptions=False)
    assert result.exit_code == 0
    assert "| m | 100.0 [100.0, 100.0] |" in result.output
    assert json.loads((tmp_path / "card" / "run.json").read_text())["data"]["data"]["counts"] == {"test": 20}


def test_a_card_of_another_command_is_kept(colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("card").mkdir()
    Path("card/run.json").write_text('{"command": "blear card other pictures"}')
    model = f"m={colours}/models.py:Means"
    command = ["card", model, str(colours / "pictures"), "--suite", str(colours / "suite.yaml"), "--limit", "6"]
    monkeypatch.setattr("sys.argv", ["blear", *command])
    for _ in range(2):  # the same command replaces its own card
        result = CliRunner().invoke(cli, [*command, "--resamples", "5"], catch_exceptions=False)
        assert result.output.splitlines()[-1].startswith("wrote card-2/card.html")
    assert f"blear card {model}" in json.loads(Path("card-2/run.json").read_text())["command"]
    assert list(Path("card").iterdir()) == [Path("card/run.json")]


@pytest.mark.parametrize(
    ("models", "changed", "words"),
    [
        (("models.py:Means", "models.py:Means"), {}, "two models are called"),
        (("models.py:Means",), {"split": "dev"}, "no split is called 'dev'"),
        (("models.py:Means",), {"suite": "quik"}, "there is no suite 'quik'"),
        (("models.py:Means",), {"facts": ("x:range=0,255",)}, "is for no model"),
        (("models.py:Means",), {"labels": ("red",)}, "expected MODEL=DATA"),
        (("models.py:Means",), {"labels": ("red=yellow",)}, "the data have no class 'yellow'"),
        (("models.py:Means",), {"labels": ("rde=green",)}, "no model has the class 'rde'.*red, green, blue"),
        (("models.py:Means",), {"labels": ("=yellow",)}, "the data have no class 'yellow'.*blue, green, red"),
        (("models.py:Means",), {"data": "nothing/here/at.all"}, "there is no such file, folder or dataset"),
        (("robust-faces",), {}, "its classes are angry"),
    ],
)
def test_messages(colours: Path, tmp_path: Path, models: tuple[str, ...], changed: dict, words: str) -> None:
    names = [f"{colours}/{name}" if ":" in name else name for name in models]
    with pytest.raises(BlearError, match=f"(?s){words}"):
        make_card(names, options(colours, **changed), tmp_path)


def test_shipped_suites_change_with_their_versions(tmp_path: Path) -> None:
    found = {name: find_suite(name) for name in suites()}
    assert {name: (suite.version, suite.sha256[:8]) for name, suite in found.items()} == SHIPPED
    conditions = {name: list(suite.evaluate.sweeps) for name, suite in found.items()}
    assert conditions["faces"][:5] == conditions["quick"]
    assert conditions["full"][: len(conditions["faces"])] == conditions["faces"]
    (tmp_path / "bad.yaml").write_text("version: 1\nsummary: x\nsweep: [{label: a}]\n")
    with pytest.raises(JobError, match=r"sweep.*use: Field required"):
        find_suite(str(tmp_path / "bad.yaml"))


def test_every_condition_of_the_suites_can_be_built() -> None:
    from blear.contracts import BuildContext, ClipSpec
    from blear.evaluate.sweep import levels
    from blear.evaluate.transform import condition_chain
    from blear.plugin.discovery import load_plugins

    evaluate, catalog = find_suite("full").evaluate, load_plugins()
    context = BuildContext(clip=ClipSpec(1, 1, 16, 16))
    frames = torch.rand(1, 1, 1, 16, 16)
    last = {level.condition: level for level in levels(evaluate, catalog, context)}
    for level in last.values():
        after = condition_chain(evaluate, level, catalog, context)(frames, np.zeros(1, np.int64), np.arange(1))
        assert after.shape == frames.shape
        assert bool(after.isfinite().all())
