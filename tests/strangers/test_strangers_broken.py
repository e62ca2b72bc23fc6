"""Broken plugins, all installed at once: each is reported with its cause, and all other plugins work."""

from __future__ import annotations

from pathlib import Path

import pytest
from strangers_outside import Outside

PLUGIN = """
from blear.contracts import Component
from blear.contracts import Params
from blear.hooks import hookimpl

PLUGIN_API = 1

@hookimpl
def register_backbones():
    return [Component("net", "Made for a test", Params, "no.such:place")]
"""
BROKEN = {
    "twice": PLUGIN.replace("return [", "return 2 * ["),
    "future": PLUGIN.replace("PLUGIN_API = 1", "PLUGIN_API = 2"),
    "raising": "raise RuntimeError('no licence found')",
    "misspelt": PLUGIN.replace("register_backbones", "register_backbone"),
    "clash": PLUGIN,
}
CAUSES = {
    "twice": "backbone 'net' is defined twice",
    "future": "states PLUGIN_API = 2, this blear has 1; install a matching version",
    "raising": "import failed: RuntimeError: no licence found",
    "misspelt": "meant: register_backbones",
    "clash": "two distributions register the plugin name 'clash'; uninstall one of them",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of installed distributions; two of them have a plugin `clash`."""
    folder = tmp_path_factory.mktemp("site")
    for distribution, name in {**{f"blear-{name}": name for name in BROKEN}, "other-clash": "clash"}.items():
        module = distribution.replace("-", "_")
        (folder / f"{module}.py").write_text(BROKEN[name])
        info = folder / f"{module}-0.3.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.3\n")
        (info / "entry_points.txt").write_text(f"[blear]\n{name} = {module}\n")
    return folder


def test_broken_plugins_are_listed_and_others_work(outside: Outside, site: Path, repository: Path) -> None:
    lines = outside("blear", "plugins", PYTHONPATH=str(site)).splitlines()
    assert sum("did not load" in line for line in lines) == len(BROKEN)
    for name, cause in CAUSES.items():
        (place,) = [number for number, line in enumerate(lines) if line.startswith(f"{name}  (")]
        assert "did not load" in lines[place + 1]
        assert cause in lines[place + 1]
    assert "clash  (blear-clash 0.3 and other-clash 0.3)" in lines
    assert any("vlqr/cnn5x5" in line for line in lines)
    told = outside("blear", "check", repository / "jobs" / "vlqr.yaml", PYTHONPATH=str(site))
    assert "Traceback" not in told
    assert not any(name in told for name in BROKEN)


@pytest.mark.parametrize("name", BROKEN)
def test_a_job_with_a_broken_plugin_reports_its_cause_once(
    outside: Outside, site: Path, repository: Path, tmp_path: Path, name: str
) -> None:
    job = tmp_path / "job.yaml"
    use = f"stages.clean.backbone={{use: {name}/net}}"
    job.write_text((repository / "jobs" / "vlqr.yaml").read_text())
    told = outside("blear", "check", job, "--set", use, code=2, PYTHONPATH=str(site))
    assert told.count(CAUSES[name]) == 1, told
    assert "its plugin did not load" in told
    assert "Traceback" not in told


def test_a_file_with_an_installed_plugins_name_is_refused(outside: Outside) -> None:
    file = outside.folder / "vlqr.py"
    file.write_text(PLUGIN)
    told = outside("blear", "plugins", "--plugin", file)
    assert told.count("did not load") == 1
    assert "a plugin is already named 'vlqr' (blear 0.1.0); rename the file" in told
    assert "vlqr/cnn5x5" in told
    file.unlink()
