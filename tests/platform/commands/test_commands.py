"""The small commands: plugins, plugins show, schema, check, prepare; each prints what its help promises."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import blear
from blear.cli import cli, main
from blear.errors import RunError
from blear.pipeline.runner import require_linux
from blear.plugin.discovery import load_plugins
from blear.plugin.scaffold.new import write_file


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """call("plugins") -> (exit code, what was printed, what went to stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["blear", *arguments])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_plugins_lists_every_component(call) -> None:
    code, out, _ = call("plugins")
    assert code == 0
    for slot in load_plugins().components.values():
        for name, registered in slot.items():
            assert name in out
            assert registered.component.summary in out


def test_show_names_every_parameter_with_its_default(call) -> None:
    code, out, _ = call("plugins", "show", "vlqr/cnn5x5")
    assert code == 0
    assert "Multiplier of the channels 64, 128, 256 and of 300 hidden units (default 1.0)" in out
    assert "{use: vlqr/cnn5x5" in out
    _, out, _ = call("plugins", "show", "avec2016")
    assert "ratings_gold_standard, ... (required)" in out


def test_show_offers_candidates(call) -> None:
    code, _, err = call("plugins", "show", "scale_mx")
    assert code == 2
    assert "did you mean" in err
    assert "scale_mix" in err


def test_schema_is_json_with_the_installed_components(call) -> None:
    code, out, _ = call("schema")
    assert code == 0
    titles = [choice["title"] for choice in json.loads(out)["$defs"]["BackboneUse"]["oneOf"]]
    assert titles == list(load_plugins().components["backbone"])


def test_check_reports_valid_and_invalid_jobs(call, repository: Path) -> None:
    job = str(repository / "jobs" / "vlqr.yaml")
    assert call("check", job) == (0, f"{job}: correct; 3 stages: sr, joint, clean\n", "")
    code, _, err = call("check", job, "--set", "stages.joint.stepz=3")
    assert code == 2
    assert "did you mean 'steps'?" in err


def test_the_digest_of_a_training_depends_on_the_training_only(call, repository: Path, tmp_path: Path) -> None:
    job = str(repository / "jobs" / "robust_faces.yaml")

    def digest(*overrides: str) -> str:
        options = [part for override in overrides for part in ("--set", override)]
        code, out, _ = call("check", job, "--digest", *options)
        assert code == 0
        return out

    expected = digest()
    assert len(expected) == 65
    same = (
        f"data.faces.source={repository / 'README.md'}",
        "name=other",
        "stages.clean.checkpoint_every=7",
        "evaluate.split=test",
    )
    assert digest(*same) == digest("cluster.gpu=false") == expected
    changed = ("seed=1", "stages.clean.steps=7", "cluster.precision=float32", "data.faces.protocol=fer_vgg_gru")
    assert len({expected, *map(digest, changed)}) == 5
    # of other data files it has that there is one, of weights their content
    places = ("a.csv", "/elsewhere/b.csv", "s3://bucket/c.csv")
    (with_votes,) = {digest(f"data.faces.votes={place}") for place in places}
    assert with_votes != expected
    start = "stages.clean.backbone.start_from"
    first, same_content, other = (
        digest(f"{start}.stage=null", f"{start}.file={file}")
        for file in (
            repository / "README.md",
            shutil.copy(repository / "README.md", tmp_path / "weights"),
            repository / "Makefile",
        )
    )
    assert first == same_content != other
    known = json.dumps({"file": None, "sha256": hashlib.sha256((repository / "README.md").read_bytes()).hexdigest()})
    assert digest(f"{start}={known}") == first
    # a plugin by its name
    plugins = [tmp_path / name for name in ("one.py", "other.py", "elsewhere/one.py")]
    for plugin in plugins:
        plugin.parent.mkdir(exist_ok=True)
        plugin.write_text("PLUGIN_API = 1\n")
    one, another, moved = (digest(f"plugins=[{plugin}]") for plugin in plugins)
    assert one == moved != another


def test_prepare_one_dataset_and_again(call, storage: Path) -> None:
    arguments = ("prepare", "procedural", "--workers", "1", "--set", "size=48")
    arguments += ("--set", "subjects={train: 2, dev: 1}", "--set", "per_subject=4")
    code, out, _ = call(*arguments)
    assert code == 0
    folder = Path(out.strip())
    assert folder.is_relative_to(storage)
    written = {p: p.stat().st_mtime_ns for p in folder.rglob("*.tar")}
    assert len(written) == 2
    assert call(*arguments)[1] == out
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*.tar")} == written


def test_usage_errors_end_with_2_and_help_with_0(call) -> None:
    code, _, err = call("run")
    assert code == 2
    assert "Missing argument 'JOB'" in err
    code, out, _ = call("--help")
    assert code == 0
    for name, command in cli.commands.items():
        assert name in out
        assert command.help


def test_file_system_errors_have_no_traceback(call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("a file where the storage should be")
    monkeypatch.setenv("BLEAR_STORAGE", str(tmp_path / "taken"))
    code, _, err = call("run", "jobs/vlqr.yaml", "--profile", "tiny")
    assert code == 2
    assert f"blear: {tmp_path}/taken/runs/vlqr: Not a directory" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("describe", [[], ["--describe"]])
def test_prepare_names_a_parameter_that_does_not_exist(call, storage: Path, describe: list[str]) -> None:
    code, _, err = call("prepare", "faces/procedural", "--set", "wrong=1", "--set", "sizes=48", *describe)
    assert code == 2
    assert "there is no parameter 'wrong'; known: " in err
    assert "there is no parameter 'sizes'; did you mean 'size'?" in err
    assert "pydantic" not in err
    _, _, err = call("prepare", "vlqr/t91", "--set", "patch=many")
    assert "parameter 'source' is required, but not given" in err
    assert "patch: " in err
    assert "got 'many'" in err


def test_show_lists_the_components_of_a_plugin(call) -> None:
    code, out, _ = call("plugins", "show", "vlqr")
    assert code == 0
    lines = out.splitlines()
    assert lines[0].startswith("vlqr  (blear ")
    components = [name for slot in load_plugins().components.values() for name in slot if name.startswith("vlqr/")]
    assert [line.split()[1] for line in lines[1:]] == components
    _, out, _ = call("plugins", "show", "nonexistent")
    assert out == ""


def test_long_names_keep_a_gap(call) -> None:
    _, out, _ = call("plugins")
    names = {name: r for slot in load_plugins().components.values() for name, r in slot.items()}
    assert max(map(len, names)) >= 28, "otherwise this test needs a longer name"
    for name, registered in names.items():
        assert f"{name}  " in out
        assert f"  {registered.component.summary}\n" in out
    for component in ("corruptions/real_esrgan", "fer/face_resnet"):
        _, out, _ = call("plugins", "show", component)
        for parameter in names[component].component.params.model_fields:
            assert f"    {parameter}  " in out


def test_python_m_blear_is_the_command() -> None:
    done = subprocess.run([sys.executable, "-m", "blear", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith(f"{blear.__version__}\n")


def test_globs_in_the_documentation_are_quoted(repository: Path) -> None:
    """zsh ends a command whose unquoted `*`, `?` or `[` matches no file."""
    files = ["README.md", "CONTRIBUTING.md", *(f"docs/{p.name}" for p in (repository / "docs").glob("*.md"))]
    files += [f"jobs/{path.name}" for path in (repository / "jobs").glob("*.yaml")]
    found = []
    for name in files:
        for number, line in enumerate((repository / name).read_text().splitlines(), 1):
            for words in re.findall(r"(?:--set|--profile|pip install) [^`#]*", line):
                if re.search(r"[*?\[]", re.sub(r"'[^']*'|\"[^\"]*\"", "", words)):
                    found.append(f"{name}:{number}: {words}")
    assert found == []


@pytest.fixture
def failing_job(tmp_path: Path) -> Path:
    """A job whose dataset raises an OSError without an error number."""
    plugin, job = write_file("burning_disk", ("dataset",), tmp_path)
    text = plugin.read_text()
    plugin.write_text(
        text.replace(
            "        for number in range", "        raise OSError('disk on fire')\n        for number in range"
        )
    )
    return job


def test_an_os_error_has_no_traceback_but_a_log(call, storage: Path, failing_job: Path) -> None:
    arguments = ["run", str(failing_job), "--set", "description=two words"]
    code, _, err = call(*arguments)
    assert code == 2
    log = storage / "runs" / "burning_disk" / "run.log"
    assert "blear: disk on fire\n  -> fix the cause and run the same command again" in err
    assert f"the traceback is in {log}" in err
    assert "Traceback" not in err
    logged = log.read_text()
    assert "Traceback" in logged
    assert "OSError: disk on fire" in logged
    command = re.search(r"command: (.*)", logged)
    assert command is not None
    assert shlex.split(command[1]) == ["blear", *arguments], "can be pasted into a shell"
    code, _, err = call("--debug", *arguments)
    assert code == 2
    assert "Traceback" in err


def test_a_reader_that_ends_early_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m blear plugins docs | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_other_systems_than_linux_are_refused(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    require_linux()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(RunError, match=r"darwin: blear prepares, trains and evaluates on Linux only"):
        require_linux()
    assert "runs on Linux" in (repository / "README.md").read_text()
