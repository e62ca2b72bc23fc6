"""Plugin discovery: names, look-up, and one clear message for each way that a plugin can be wrong."""

from __future__ import annotations

import pickle
import sys
import textwrap
from pathlib import Path

import pytest

from blear.contracts import BuildContext
from blear.errors import PluginError
from blear.job.schema import BackboneUse, Data, FallbackData, HeadUse, Sweep, WeightedHeadUse
from blear.plugin.component_ref import ComponentRef
from blear.plugin.discovery import load_plugins
from blear.plugin.fingerprints import check_fingerprints, component_fingerprints
from blear.plugin.scaffold.new import write_package
from blear.plugin.uses import ENTRY_GROUPS, RESERVED_KEYS, DegradationUse
from blear.testing import NonconformityError, checks_of

GOOD = """
from blear.contracts import Component
from blear.contracts import Params
from blear.hooks import hookimpl
from pydantic import Field

PLUGIN_API = 1

class Size(Params):
    size: int = Field(3, description="how large")

def make(params, context):
    return [params.size, context.seed]

@hookimpl
def register_backbones():
    return [Component("{name}", "Made for a test", Size, make)]
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs distributions into a folder on the path: site("dist", "1.0", plugin="x", module="m", source="...")."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    load_plugins.cache_clear()

    def install(distribution: str, version: str, plugin: str, module: str, source: str | None) -> None:
        if source is not None:  # else the module is on the path already
            (folder / f"{module}.py").write_text(textwrap.dedent(source))
        info = folder / f"{distribution}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[blear]\n{plugin} = {module}\n")

    yield install
    load_plugins.cache_clear()
    for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(tmp_path))]:
        del sys.modules[name]


def problem_of(name: str) -> str:
    return next(plugin.problem for plugin in load_plugins().plugins if plugin.name == name)


def test_first_party_plugins_load_through_the_same_entry_points() -> None:
    catalog = load_plugins()
    assert {p.name for p in catalog.plugins} >= {"corruptions", "faces", "fer", "vlqr"}
    assert not [p.problem for p in catalog.plugins if p.problem]
    assert catalog.get("backbone", "cnn5x5").name == "vlqr/cnn5x5"


def test_loading_imports_no_torch(repository: Path) -> None:
    import subprocess

    code = "import sys; from blear.plugin.discovery import load_plugins; load_plugins(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=repository)
    assert done.stdout.strip() == "False"


def test_a_strangers_component_is_found_by_full_and_short_name(site) -> None:
    site("strange", "2.1", "strange", "strange_plugin", GOOD.format(name="odd"))
    catalog = load_plugins()
    assert catalog.get("backbone", "odd") is catalog.get("backbone", "strange/odd")
    assert catalog.get("backbone", "odd").build({"size": 5}, BuildContext(seed=7)) == [5, 7]
    assert catalog.get("backbone", "odd").plugin.origin == "strange 2.1"


def test_short_names_that_two_plugins_share_are_ambiguous(site) -> None:
    site("one", "1.0", "one", "plugin_one", GOOD.format(name="same"))
    site("two", "1.0", "two", "plugin_two", GOOD.format(name="same"))
    with pytest.raises(PluginError, match="ambiguous: one/same, two/same"):
        load_plugins().get("backbone", "same")
    assert load_plugins().get("backbone", "two/same").plugin.name == "two"


def test_two_distributions_with_one_plugin_name_are_both_named(site) -> None:
    site("one", "1.0", "clash", "plugin_one", GOOD.format(name="a"))
    site("two", "2.0", "clash", "plugin_two", GOOD.format(name="b"))
    conflicting = next(p for p in load_plugins().plugins if p.name == "clash")
    assert conflicting.origin == "one 1.0 and two 2.0"
    assert "uninstall one" in conflicting.problem
    assert "clash/a" not in load_plugins().components["backbone"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import no_such_module", "No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError"),
        (GOOD.format(name="x").replace("PLUGIN_API = 1", ""), "PLUGIN_API = None"),
        (GOOD.format(name="x").replace("PLUGIN_API = 1", "PLUGIN_API = 99"), "PLUGIN_API = 99"),
        (GOOD.format(name="x").replace("register_backbones", "register_backbone"), "meant: register_backbones"),
        (GOOD.format(name="Bad-Name"), "letters, digits"),
        (GOOD.format(name="x").replace(', description="how large"', ""), "without a description: size"),
        (GOOD.format(name="x").replace("return [C", "return 2 * [C"), "'x' is defined twice"),
        (GOOD.format(name="x").replace("return [C", "return 7, [C"), "expected a Component, got int"),
        (GOOD.format(name="x").replace("return [C", "[C"), "register_backbones returned NoneType, expected a list"),
        (GOOD.format(name="x").replace("@hookimpl\n", ""), "register_backbones is not registered: write @hookimpl"),
        (GOOD.format(name="x").replace(", Size, make", ", None, make"), "x: params is None, expected a subclass of"),
        (GOOD.format(name="x").replace('"x", "Made', 'None, "Made'), "component name None: use letters"),
        (GOOD.format(name="x").replace("size: int", "start_from: int"), "'start_from' is a key of every backbone"),
        ("import sys\nsys.exit(0)", "import failed: SystemExit: 0"),
    ],
)
def test_a_broken_plugin_is_reported_and_others_load(site, source: str, expected: str) -> None:
    site("broken", "0.1", "broken", "broken_plugin", source)
    assert expected in problem_of("broken")
    assert load_plugins().get("backbone", "vlqr/cnn5x5")
    with pytest.raises(PluginError, match="its plugin did not load"):
        load_plugins().get("backbone", "broken/x")


def test_unknown_names_get_suggestions() -> None:
    with pytest.raises(PluginError) as caught:
        load_plugins().get("backbone", "vlqr/cnn5x")
    assert "did you mean vlqr/cnn5x5" in caught.value.do
    with pytest.raises(PluginError, match="is a backbone, not a head"):
        load_plugins().get("head", "cnn5x5")


def test_one_file_plugin(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(GOOD.format(name="own"))
    catalog = load_plugins((str(file),))
    assert catalog.get("backbone", "mine/own").build({}, BuildContext()) == [3, 0]
    missing = load_plugins((str(tmp_path / "none.py"),))
    assert [p.problem for p in missing.plugins if p.name == "none"] == ["no such file"]


def test_wrong_parameters_name_the_component() -> None:
    with pytest.raises(PluginError) as caught:
        load_plugins().get("backbone", "cnn5x5").build({"width": "wide"}, BuildContext())
    assert caught.value.where == "vlqr/cnn5x5"
    assert "width" in caught.value.what


def test_references_and_errors_survive_pickling() -> None:
    ref = pickle.loads(pickle.dumps(ComponentRef("degradation", "downscale", {"factor": 2})))  # noqa: S301
    assert ref.build(BuildContext()).levels()
    error = pickle.loads(pickle.dumps(PluginError("what", "where", "do")))  # noqa: S301
    assert (type(error), error.what, error.where, error.do) == (PluginError, "what", "where", "do")


def test_fingerprint_changes_with_the_schema(tmp_path: Path) -> None:
    first, second = tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py"
    for file, size in ((first, "size: int"), (second, "size: float")):
        file.parent.mkdir()
        file.write_text(GOOD.format(name="own").replace("size: int", size))
    prints = [
        component_fingerprints(load_plugins((str(f),)), [("backbone", "mine/own")])["mine/own"] for f in (first, second)
    ]
    assert prints[0].split(":")[1] != prints[1].split(":")[1]


def test_a_different_version_on_a_node_is_an_error_with_both_versions(site) -> None:
    site("strange", "2.1", "strange", "strange_plugin", GOOD.format(name="odd"))
    names = [("backbone", "strange/odd"), ("head", "vlqr/valence")]
    here = component_fingerprints(load_plugins(), names)
    check_fingerprints(here, load_plugins(), names, "node b")
    digest = here["strange/odd"].split(":")[1]
    told = r"plugin strange differs: version 2\.0 where the job was started, 2\.1 on node b"
    with pytest.raises(PluginError, match=told):
        check_fingerprints(here | {"strange/odd": f"2.0:{digest}"}, load_plugins(), names, "node b")
    with pytest.raises(PluginError, match=r"differs: version 2\.1 has other parameters on node b"):
        check_fingerprints(here | {"strange/odd": "2.1:000000000000"}, load_plugins(), names, "node b")
    with pytest.raises(PluginError, match="node b lacks plugin absent: there is no backbone") as caught:
        check_fingerprints({}, load_plugins(), [("backbone", "absent/net")], "node b")
    assert "install one version everywhere" in caught.value.do


def test_a_one_file_plugin_is_not_replaced_by_another_plugin_of_its_name(tmp_path: Path) -> None:
    file = tmp_path / "vlqr.py"
    file.write_text(GOOD.format(name="cnn5x5"))
    for name in ("vlqr/cnn5x5", "cnn5x5"):  # the job may mean the file
        with pytest.raises(PluginError, match=r"vlqr\.py: backbone .*a plugin is already named 'vlqr'"):
            load_plugins((str(file),)).get("backbone", name)
    assert load_plugins((str(file),)).get("backbone", "timm/model")
    own = tmp_path / "twice.py"
    own.write_text(GOOD.format(name="own"))
    assert load_plugins((str(own), str(own))).get("backbone", "twice/own")


def test_a_file_name_with_a_dot_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.b.py").write_text(GOOD.format(name="own"))
    assert "the file name has a dot" in load_plugins((str(tmp_path / "a.b.py"),)).plugins[-1].problem


def test_an_error_in_the_module_of_build_names_the_component(site) -> None:
    site("late", "0.1", "late", "late_plugin", GOOD.format(name="x").replace("make)", '"late_network:make")'))
    site("other", "0.1", "other", "late_network", "1 / 0")
    with pytest.raises(PluginError, match=r"late/x: build 'late_network:make' cannot be imported: ZeroDivisionError"):
        load_plugins().get("backbone", "late/x").build({}, BuildContext())


def test_reserved_names_are_the_keys_beside_components_in_a_job() -> None:
    keys = {
        "dataset": (Data, FallbackData),
        "degradation": (DegradationUse, Sweep),
        "backbone": (BackboneUse,),
        "head": (HeadUse, WeightedHeadUse),
    }
    for slot, models in keys.items():
        names = {field.alias or name for model in models for name, field in model.model_fields.items()}
        own = {"source"} if slot == "dataset" else {"p"} if slot == "degradation" else set()
        groups = {group.key for group in ENTRY_GROUPS} if slot == "degradation" else set()
        assert (names | groups) - own == RESERVED_KEYS[slot]


@pytest.mark.parametrize("name", ["calendar", "pydantic", "blear", "blear_faces"])
def test_a_one_file_plugin_does_not_replace_a_module(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"{name}.py"
    file.write_text(GOOD.format(name="own"))
    before = sys.modules.get(name)
    (plugin,) = (plugin for plugin in load_plugins((str(file),)).plugins if plugin.name == name)
    assert f"named like the module {name!r} (" in plugin.problem
    assert "rename it" in plugin.problem
    assert sys.modules.get(name) is before
    import calendar

    assert calendar.isleap(2024)


def loading_failure(plugin: str) -> str:
    """The failure of the check that a plugin is loaded without torch; empty if it is met."""
    (check,) = (check for check in checks_of(plugin) if "without torch" in check.requirement)
    try:
        check()
    except NonconformityError as error:
        return str(error)
    return ""


def test_a_plugin_that_imports_torch_when_it_is_loaded_fails_its_check(site) -> None:
    site("heavy", "1.0", "heavy", "heavy_plugin", "import torch\n" + GOOD.format(name="net"))
    assert "heavy_plugin.py:1" in loading_failure("heavy")
    late = GOOD.format(name="net").replace("    return [Component", "    import torch\n    return [Component")
    site("late", "1.0", "late", "late_plugin", late)
    load_plugins.cache_clear()
    assert "`import torch` at " in loading_failure("late")
    site("light", "1.0", "light", "light_plugin", GOOD.format(name="net"))
    load_plugins.cache_clear()
    assert loading_failure("light") == ""


def test_a_package_of_the_scaffold_is_loaded_without_torch(site, tmp_path: Path, monkeypatch) -> None:
    write_package("airy", (), tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "blear-airy" / "src"))
    site("blear-airy", "1.0", "airy", "blear_airy", None)
    load_plugins.cache_clear()
    assert loading_failure("airy") == ""
    assert len([name for slot in load_plugins().components.values() for name in slot if name.startswith("airy/")]) == 4
