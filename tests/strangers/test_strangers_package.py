"""From nothing to a run on a cluster whose workers do not have it: a stranger's package, and a stranger's file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from strangers_outside import Outside

COMPONENTS = ("sketch/stripes", "sketch/fade", "sketch/tiny", "sketch/classes")


def one_training(name: str) -> list[str]:
    """Changes to the scaffold's job: its first stage is trained on all components, its second one is a copy."""
    loaded = f"{{data: pictures, start_from: {{stage: clean}}, backbone: {{use: {name}/tiny}}"
    changes = [
        "stages.clean.steps=8",
        f"stages.clean.degrade=[{{use: {name}/fade, contrast: [0.05, 1.0]}}]",
        f"stages.robust={loaded}, head: {{use: {name}/classes, target: direction}}, batch_size: 64, steps: 0}}",
    ]
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture(scope="module")
def package(outside: Outside) -> Path:
    """`blear-sketch`, written, built as a wheel, installed from it; the wheel is gone then."""
    outside("blear", "plugins", "new", "sketch")
    folder = outside.folder / "blear-sketch"
    outside("pip", "wheel", "--wheel-dir", "wheels", folder)
    (wheel,) = (outside.folder / "wheels").glob("blear_sketch-0.1.0-py3-none-any.whl")
    outside("pip", "install", wheel)
    shutil.rmtree(outside.folder / "wheels")
    return folder


def test_a_package_is_installed_listed_checked_and_described(outside: Outside, package: Path) -> None:
    assert "site-packages" not in str(package)
    listed = outside("blear", "plugins")
    assert "sketch  (blear-sketch 0.1.0)" in listed
    assert all(name in listed for name in COMPONENTS)
    checked = outside("blear", "plugins", "check", "sketch")
    assert "ok       sketch/tiny [0] saves and loads" in checked
    assert " 0 failed" in checked
    schema = json.loads(outside("blear", "schema"))["$defs"]
    for slot, name in zip(("Data", "DegradationUse", "BackboneUse", "HeadUse"), COMPONENTS, strict=True):
        titles = {one.get("title") for one in schema[slot].get("oneOf", schema[slot].get("anyOf", []))}
        assert name in titles
    page = outside("blear", "plugins", "docs", "sketch")
    assert all(f"### {name}" in page for name in COMPONENTS)
    assert "| `contrast` | remaining contrast, 1: unchanged;" in page


def test_its_own_tests_and_those_of_the_suite_pass(outside: Outside, package: Path) -> None:
    own = outside("pytest", "-q", "-p", "no:cacheprovider", package / "tests")
    suite = outside("pytest", "-q", "-p", "no:cacheprovider", "--pyargs", "blear.testing", "--blear-plugin", "sketch")
    counts = [next(line for line in text.splitlines() if " passed" in line).split()[0] for text in (own, suite)]
    assert counts[0] == counts[1]
    assert int(counts[0]) > 30


def test_a_plugin_that_breaks_the_contract_fails_the_check(outside: Outside) -> None:
    outside("blear", "plugins", "new", "crooked", "--degradation", "--file")
    file = outside.folder / "crooked.py"
    file.write_text(file.read_text().replace("* contrast\n", "* contrast / 0\n"))
    told = outside("blear", "plugins", "check", "crooked.py", code=1)
    assert "FAILS    crooked/fade [0] keeps shape and type" in told
    assert "apply: expected finite numbers, got NaN or infinity" in told


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_a_package_goes_to_workers_that_do_not_have_it(
    outside: Outside, package: Path, ray_head: str, ray_token: dict[str, str], ray_storage: Path
) -> None:
    here = subprocess.run(
        [Path(sys.executable).with_name("blear"), "plugins"], capture_output=True, text=True, check=True
    )
    assert "sketch" not in here.stdout  # the head runs in this environment
    job = package / "job.yaml"
    told = outside(
        "blear",
        "submit",
        job,
        "--working-dir",
        package,
        "--address",
        ray_head,
        *one_training("sketch"),
        **ray_token,
    )
    assert "builds a wheel of plugin blear-sketch from" in told
    assert "sketch-1 succeeded" in told
    run = ray_storage / "runs" / "sketch"
    info = json.loads((run / "run.json").read_text())
    assert info["runner"] == "ray"
    assert {name: info["components"][name].split(":")[0] for name in COMPONENTS} == dict.fromkeys(COMPONENTS, "0.1.0")
    report = (run / "report.html").read_text()
    assert all(f"<dt>{name}</dt><dd><code>0.1.0:" in report for name in COMPONENTS)


def test_a_one_file_plugin_is_listed_checked_described_and_run(blear, storage: Path, tmp_path: Path) -> None:
    """Its way to the workers of a cluster is tested by test_submit_ray.py."""

    def output(*arguments: object) -> str:
        done = blear(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(done.stdout + done.stderr)

    output("plugins", "new", "scrawl", "--file", "--in", tmp_path)
    names = [name.replace("sketch", "scrawl") for name in COMPONENTS]
    file = tmp_path / "scrawl.py"
    listed = output("plugins", "--plugin", file)
    page = output("plugins", "--plugin", file, "docs", "scrawl")
    schema = output("schema", "--plugin", file)
    assert " 0 failed" in output("plugins", "check", file)
    for name in names:
        assert name in listed
        assert f"### {name}" in page
        assert f'"title": "{name}"' in schema
    output("run", tmp_path / "scrawl.yaml", *one_training("scrawl"))
    report = (storage / "runs" / "scrawl" / "report.html").read_text()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()[:12]  # a file has no other version
    assert all(f"<dt>{name}</dt><dd><code>{digest}:" in report for name in names)


@pytest.mark.ray
@pytest.mark.timeout(600)
def test_workers_with_another_version_are_named(
    outside: Outside, package: Path, ray_head: str, ray_token: dict[str, str], ray_storage: Path
) -> None:
    """The driver has version 0.2 on its path, the nodes have 0.1: one message, and nothing is trained."""
    sites = {version: outside.folder / f"site-{version}" for version in ("0.1.0", "0.2.0")}
    for version, site in sites.items():
        shutil.copytree(package / "src" / "blear_sketch", site / "blear_sketch")
        info = site / f"blear_sketch-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: blear-sketch\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[blear]\nsketch = blear_sketch\n")
    driver = ":".join(filter(None, (str(sites["0.2.0"]), os.environ.get("PYTHONPATH"))))
    entry = f"env PYTHONPATH={driver} blear run job.yaml --runner ray --set name=torn --set stages.*.steps=4"
    environment = json.dumps({"env_vars": {"PYTHONPATH": str(sites["0.1.0"])}, "working_dir": str(package)})
    command = [Path(sys.executable).with_name("ray"), "job", "submit", "--address", ray_head]
    command += ["--runtime-env-json", environment, "--", *entry.split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | ray_token)
    told = done.stdout + done.stderr
    assert "plugin sketch differs" in told, told[-3000:]
    assert "0.2.0" in told
    assert "0.1.0" in told
    assert not (ray_storage / "runs" / "torn" / "stages" / "clean" / "stage.json").exists()
