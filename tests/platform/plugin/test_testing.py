"""The conformance suite: a plugin as it is written by `blear plugins new` passes; each way to break it is named."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from blear.errors import PluginError
from blear.plugin.scaffold.new import write_file
from blear.testing import NonconformityError, NotCheckedError, checks_of

_NUMBER = itertools.count()


@pytest.fixture
def broken(tmp_path: Path):
    """broken(("old", "new"), ...) -> check -> message of each failure of a one-file plugin with these replacements."""

    def failures(*changes: tuple[str, str]) -> dict[str, str]:
        name = f"sketch{next(_NUMBER)}"  # a new name each time: modules stay in sys.modules
        file, _ = write_file(name, (), tmp_path)
        text = file.read_text()
        for old, new in changes:
            assert text.count(old) >= 1, old
            text = text.replace(old, new)
        file.write_text(text)
        found = {}
        for check in checks_of(str(file)):
            try:
                check()
            except NonconformityError as error:
                found[str(check).removeprefix(f"{name}/")] = str(error)
            except NotCheckedError:
                continue
        return found

    return failures


def test_the_scaffold_conforms(broken) -> None:
    assert broken() == {}


@pytest.mark.parametrize(
    ("old", "new", "check", "message"),
    [
        ("class FadeParams(Params):", "class FadeParams(BaseModel):", "fade [0] refuses unknown", "are accepted"),
        ('"Takes contrast away"', '""', "fade [0] is declared", "Component.summary: expected one line"),
        (
            "return mean + (frames_BTCHW - mean) * contrast",
            "return (mean + (frames_BTCHW - mean) * contrast).mT",
            "fade [0] keeps the shape of frames that are not square",
            "expected float32 [2, 1, 3, 32, 40], got float32 [2, 1, 3, 40, 32]",
        ),
        ('"map": x.unflatten(0, clips)', '"map": x', "tiny [0] returns named", "with T of 1 or less"),
        (
            "x = frames_BTCHW.flatten(0, 1) - 0.5",
            "x = frames_BTCHW.clamp_(max=0.2).flatten(0, 1) - 0.5",
            "tiny [0] does not modify its input",
            "an input that is modified in place",
        ),
        ("self.conv3", "self.__dict__['conv3']", "tiny [0] saves and loads", "register layers"),
        ("self.fc", "self.__dict__['fc']", "classes [0] saves and loads", "register layers"),
        # datasets
        ("frames=frames_THWC", "frames=frames_THWC.astype('f4')", "stripes [0] samples fit", "in about [0, 1]"),
        (
            "frames=frames_THWC,",
            "frames=frames_THWC, subject=3,",
            "stripes [0] samples fit",
            "subject: expected a text",
        ),
        ("frames=frames_THWC,", "frames=frames_THWC, time='3',", "stripes [0] samples fit", "time: expected seconds"),
        ("frames=frames_THWC,", "frames=frames_THWC, meta={'a': [1]},", "stripes [0] samples fit", "text or number"),
        ('("rows", "columns")', '["rows", "columns"]', "stripes [0] declares", "a tuple of class names"),
        (
            "    targets = (Target(",
            "    targets = () and (Target(",
            "stripes [0] declares",
            "targets: expected at least one",
        ),
        (
            '    terms = "Drawn',
            '    terms = "" and "Drawn',
            "stripes [0] declares",
            "terms: expected licence and source",
        ),
        ("{number:06d}", "{number:06d}.png", "stripes [0] samples fit", "key 'train_000000.png': expected a key of"),
        ('"direction": columns', '"direction": columns + 2', "stripes [0] samples fit", "class index in 0..1, got"),
        (
            '"direction": columns',
            '"other": columns',
            "stripes [0] samples fit",
            "expected ['direction'], got ['other']",
        ),
        (".astype(np.uint8)", ".astype(np.int32)", "stripes [0] samples fit", "uint8 or float32 [T, H, W, C]"),
        ("[None, :, :, None]", "[:, :, None]", "stripes [0] samples fit", "got uint8 (32, 32, 1)"),
        (
            "default_rng([self._seed,",
            "default_rng() or ([self._seed,",
            "stripes [0] returns the same",
            "another 'train",
        ),
        ("{split}_{number:06d}", "{split}_{number // 2:06d}", "stripes [0] keys are unique", "'train_000000' twice"),
        (
            'raise DataError(f"no split',
            'raise ValueError(f"no split',
            "stripes [0] unknown splits",
            "parts('no_such_split'): expected a DataError that lists the known names, got ValueError",
        ),
        # degradations
        ("def levels(self)", "def steps(self)", "fade [0] has the methods", "expected draw, apply and levels"),
        ("self._low + (self", "np.random.rand() + (self", "fade [0] draws depend", "same for the same keys"),
        (
            "self._low + (self",
            "keys.uniform()[:, 0].mean() + (self",
            "fade [0] draws depend",
            "a draw that does not depend on the batch",
        ),
        (
            "return mean + (",
            "return frames_BTCHW[..., :8]; return (",
            "fade [0] keeps shape",
            "else implement `for_evaluation`",
        ),
        ("* contrast\n", "* contrast / 0\n", "fade [0] keeps shape", "finite numbers, got NaN"),
        ("* contrast\n", "* contrast.double()\n", "fade [0] keeps shape", "expected float32"),
        ("mean = frames_BTCHW.mean(", "mean = frames_BTCHW.mul_(0.5).mean(", "fade [0] does not modify", "in place"),
        (
            "* contrast\n",
            "* contrast * torch.rand(1)\n",
            "fade [0] is deterministic",
            "random numbers come from `draw`",
        ),
        ("dim=(1, 2, 3, 4)", "dim=(0, 1, 2, 3, 4)", "fade [0] a batch equals", "a batch to be its samples one by one"),
        ("mean = frames_BTCHW", "frames_BTCHW[0]\n        mean = frames_BTCHW", "fade [0] accepts empty", "IndexError"),
        ('{"contrast": contrast} for', '{"contrst": contrast} for', "fade [0] its levels", "levels()[0]: expected"),
        ('{"contrast": contrast} for', '{"contrast": str(contrast)} for', "fade [0] its levels", "expected a number"),
        # backbones
        (
            'return {"map": x',
            'return [x] or {"map": x',
            "tiny [0] returns",
            "a dict of",
        ),
        (
            "embedding.unflatten(0, clips)",
            "x.unflatten(0, clips)",
            "tiny [0] returns",
            "forward()['embedding']: expected [B, T, D]",
        ),
        ("- 0.5\n", "- frames_BTCHW.mean()\n", "tiny [0] a batch equals", "in eval() a batch to be its samples"),
        (
            "x.unflatten(0, clips)",
            "x.unflatten(0, (len(frames_BTCHW), -1))",
            "tiny [0] accepts empty",
            "cannot reshape tensor of 0 elements",
        ),
        (
            "width = params.width\n",
            "width = params.width\n        torch.manual_seed(torch.seed())\n",
            "tiny [0] has equal",
            "equal initial weights under one seed",
        ),
        ("(self.conv3(relu(", "(self.conv3.requires_grad_()(relu(", "", ""),
        # heads
        ("def metrics(self)", "def scores(self)", "classes [0] has the methods", "expected loss, metrics and decode"),
        (
            "return cross_entropy(outputs, batch.targets[self._target])",
            'return cross_entropy(outputs, batch.targets[self._target], reduction="sum")',
            "classes [0] a batch equals",
            "the mean of the clips' own losses",
        ),
        (
            ".mean(dim=1)).float()",
            ".mean(dim=1)).detach().float()",
            "classes [0] returns a loss",
            "does not require grad",
        ),
        ("outputs.softmax(dim=-1)", "outputs", "classes [0] decodes", "probabilities that sum to 1"),
        ("Categories(self._classes,", "Categories(self._classes[::-1],", "classes [0] decodes", "the target's classes"),
        (
            "return CLASSIFICATION",
            'return [Metric("wrong", "Wrong", CLASSIFICATION[0].compute, False)]',
            "classes [0] its metrics",
            "correct predictions to be lower than wrong ones",
        ),
    ],
)
def test_violations_are_reported(broken, old: str, new: str, check: str, message: str) -> None:
    imports = ("import numpy as np\n", "import numpy as np\nfrom pydantic import BaseModel\n")
    found = broken(imports, (old, new))
    if not check:
        assert found == {}
        return
    messages = [text for name, text in found.items() if name.startswith(check)]
    assert messages, found
    assert message in messages[0]


def test_the_first_party_plugins_conform() -> None:
    """All slots; the plugins with large networks are checked by their own tests."""
    passed = 0
    for plugin in ("faces", "corruptions", "vlqr"):
        for check in checks_of(plugin):
            try:
                check()
            except NotCheckedError:
                continue
            passed += 1
    assert passed > 300


def test_a_dataset_without_raw_data_is_not_checked() -> None:
    reasons = []
    for check in checks_of("vlqr", only=["avec2016"]):
        try:
            check()
        except NotCheckedError as reason:
            reasons.append(str(reason))
    assert reasons
    assert all(reason.startswith("the example's raw data is missing: data/avec2016") for reason in reasons)


def test_unknown_and_empty_plugins_are_errors(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="there is no plugin 'nowhere'"):
        checks_of("nowhere")
    with pytest.raises(PluginError, match="does not load: no such file"):
        checks_of(str(tmp_path / "none.py"))
    with pytest.raises(PluginError, match="no component cnn9x9"):
        checks_of("vlqr", only=["cnn9x9"])
    empty = tmp_path / "hollow.py"
    empty.write_text("PLUGIN_API = 1\n")
    with pytest.raises(PluginError, match="registers no component"):
        checks_of(str(empty))
