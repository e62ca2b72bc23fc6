"""The benchmarks' own arithmetic, their JSON, and that gpu.py runs without the platform's packages; no timing."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import jsonschema_rs
import pytest
import torch

from blear.contracts import BuildContext, ClipSpec
from blear_vlqr.backbones import Cnn5x5
from blear_vlqr.params import Cnn5x5Params

ROWS = """
from measuring import Row, rate_rows

def measure():
    rows = rate_rows({"old": [4.0, 2.0, 6.0], "new": [1.0, 1.0, 2.0]}, 8, "images/s", "old", "48 px, ")
    return [*rows, Row("share", 12.5, "%")]
"""
SCHEMA = {
    "type": "object",
    "required": ["date", "machine", "versions", "benchmarks", "rows", "failed"],
    "properties": {
        "date": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00$"},
        "machine": {
            "required": ["cpu", "cores", "threads", "memory_gb", "system"],
            "properties": {"cpu": {"minLength": 1}, "cores": {"minimum": 1}, "memory_gb": {"exclusiveMinimum": 0}},
        },
        "versions": {"required": ["python", "blear", "torch", "numpy", "kornia"]},
        "benchmarks": {
            "additionalProperties": {
                "required": ["seconds", "peak_mb"],
                "properties": {"peak_mb": {"exclusiveMinimum": 1}},
            }
        },
        "rows": {
            "items": {
                "required": ["bench", "name", "value", "unit", "ratio", "against", "spread"],
                "additionalProperties": False,
                "properties": {
                    "bench": {"pattern": "^bench_"},
                    "name": {"minLength": 1},
                    "value": {"type": "number"},
                    "unit": {"minLength": 1},
                    "ratio": {"type": ["number", "null"]},
                    "against": {"type": "string"},
                    "spread": {"type": ["array", "null"], "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
                },
            }
        },
    },
}


def module(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"tests_bench_{name}", repository / "tests" / "bench" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def bench(repository: Path, tmp_path: Path):
    """bench("word", ...) runs the harness on the benchmarks in tmp_path; gives (process, the JSON)."""

    def call(*words: str) -> tuple[subprocess.CompletedProcess[str], dict | None]:
        out = tmp_path / "build" / "bench.json"
        script = repository / "tests" / "bench" / "bench.py"
        command = [sys.executable, str(script), *words, "--folder", str(tmp_path), "--out", str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
        return done, json.loads(out.read_text()) if out.is_file() else None

    return call


def test_rates_ratios_and_quartiles(repository: Path) -> None:
    measuring = module(repository, "measuring")
    old, new = measuring.rate_rows({"old": [4.0, 2.0, 6.0], "new": [1.0, 1.0, 2.0]}, 8, "images/s", "old", "48 px, ")
    assert (old.name, old.value, old.ratio, old.against) == ("48 px, old", 2.0, None, "")
    assert old.spread == (pytest.approx((8 / 6 + 2) / 2), 3.0)
    assert (new.name, new.value, new.spread) == ("48 px, new", 8.0, (6.0, 8.0))
    assert (new.ratio, new.against) == (3.0, "old")  # the median of 4, 2 and 3, pair by pair


def test_arms_take_turns_and_each_starts_some(repository: Path) -> None:
    calls = []
    arms = {name: lambda name=name: calls.append(name) or time.sleep(0) for name in "abc"}
    seconds = module(repository, "measuring").interleaved(arms, repeats=3, warm=1)
    assert "".join(calls) == "abc" + "bca" + "cab" + "abc"
    assert {name: len(times) for name, times in seconds.items()} == {"a": 3, "b": 3, "c": 3}


def test_one_file_with_all_rows_and_the_machine(bench, tmp_path: Path) -> None:
    (tmp_path / "bench_one.py").write_text(ROWS)
    (tmp_path / "bench_two.py").write_text(ROWS)
    done, result = bench()
    assert done.returncode == 0, done.stderr
    jsonschema_rs.validate(SCHEMA, result)
    assert [row["bench"] for row in result["rows"]] == ["bench_one"] * 3 + ["bench_two"] * 3
    assert result["rows"][1] == {
        "bench": "bench_one",
        "name": "48 px, new",
        "value": 8.0,
        "unit": "images/s",
        "ratio": 3.0,
        "against": "old",
        "spread": [6.0, 8.0],
    }
    cells = [line.split("  ") for line in done.stdout.splitlines()]
    words = [[cell.strip() for cell in line if cell.strip()] for line in cells]
    assert words.count(["48 px, new", "8", "images/s", "6 to 8", "3 x", "old"]) == 2
    assert words.count(["share", "12.5", "%"]) == 2


def test_words_select_and_a_failure_keeps_the_rest(bench, tmp_path: Path) -> None:
    (tmp_path / "bench_good.py").write_text(ROWS)
    (tmp_path / "bench_bad.py").write_text("def measure():\n    raise OSError('the disk is gone')\n")
    done, result = bench("good")
    assert (done.returncode, list(result["benchmarks"]), result["failed"]) == (0, ["bench_good"], [])
    done, result = bench()
    assert (done.returncode, list(result["benchmarks"]), result["failed"]) == (1, ["bench_good"], ["bench_bad"])
    assert "the disk is gone" in done.stderr
    done, _ = bench("nothing")
    assert done.returncode == 2
    assert "choose from: bench_bad, bench_good" in done.stderr


def test_every_benchmark_has_measure_which_needs_no_argument(repository: Path) -> None:
    files = sorted((repository / "tests" / "bench").glob("bench_*.py"))
    assert {"bench_platform", "bench_separable", "bench_steps"} <= {file.stem for file in files}
    for file in files:
        functions = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)]
        found = next((node.args for node in functions if node.name == "measure"), None)
        assert found is not None, file.name
        assert len(found.args) == len(found.defaults), file.name


@pytest.fixture(scope="module")
def gpu_result(repository: Path, tmp_path_factory) -> dict:
    """What gpu.py writes on the CPU, in a process where the platform's other dependencies cannot be imported."""
    out = tmp_path_factory.mktemp("gpu") / "results" / "gpu.json"
    script = repository / "tests" / "bench" / "gpu.py"
    absent = ("ray", "kornia", "webdataset", "pluggy", "pydantic", "cv2", "safetensors")
    code = f"import sys, runpy\nfor name in {absent}: sys.modules[name] = None\n"
    code += f"sys.path.insert(0, {str(script.parent)!r})\n"  # as of a script
    code += f"sys.argv = ['gpu.py', '--device', 'cpu', '--tiny', '--out', {str(out)!r}]\n"
    code += f"runpy.run_path({str(script)!r}, run_name='__main__')\n"
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=250)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(out.read_text())
    return json.loads(out.read_text())


def test_gpu_script_measures_everything(gpu_result: dict) -> None:
    assert (gpu_result["tiny"], gpu_result["failed"], gpu_result["skipped"]) == (True, {}, [])
    arms = {(row["size"], row["arm"]) for row in gpu_result["degradation"]}
    assert {(96, "blear"), (96, "compiled"), (224, "blear"), (224, "whole operators"), (224, "copy")} <= arms
    networks = [(row["network"], row["compiled"]) for row in gpu_result["steps"]]
    assert networks == [("CNN+D", False), ("ResNet-18", False), ("CNN+D", True), ("ResNet-18", True)]
    assert [row["images"] for row in gpu_result["fer2013"]] == [28_709, 28_709]
    assert {row["data"] for row in gpu_result["fer2013"]} == {"random, of FER2013's shape"}


def test_gpu_scripts_numbers_agree_with_each_other(gpu_result: dict) -> None:
    copy, peak = gpu_result["copy_gb_s"]["median"], gpu_result["peak"]["measured_tflops"]["median"]
    for row in gpu_result["degradation"]:
        frame = row["channels"] * row["size"] ** 2 * 4
        assert row["gb_s"]["median"] == pytest.approx(2 * frame * row["images_s"] / 1e9)
        assert row["of_copy"] == pytest.approx(row["gb_s"]["median"] / copy)
        assert row["arm"] == "copy" or row["off_reference"] < 1e-5
    for row in gpu_result["steps"]:
        assert row["tflops"] == pytest.approx(row["flops_per_step"] * row["steps_s"]["held"]["median"] / 1e12)
        assert row["of_peak"] == pytest.approx(row["tflops"] / peak)
        assert set(row["of_held"]) == {"resident", "host"}
        for rate in row["steps_s"].values():
            assert 0 < rate["low"] <= rate["median"] <= rate["high"]


def test_gpu_script_counts_the_operations_of_cnn_d(gpu_result: dict) -> None:
    """By hand: 4 pictures of 32 px, channels 4, 8, 16; forward once, backward twice, but not to the input."""
    multiplies = {"conv1": 4 * 25 * 28**2, "conv2": 8 * 4 * 25 * 10**2, "conv3": 16 * 8 * 25 * 1, "fc4": 16 * 19}
    total = 3 * (sum(multiplies.values()) + 19 * 7) - multiplies["conv1"]
    row = next(row for row in gpu_result["steps"] if row["network"] == "CNN+D")
    assert row["flops_per_step"] == 4 * 2 * total


def test_gpu_scripts_network_is_the_plugins(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository / "tests" / "bench")
    ours = module(repository, "gpu_training").Cnn5x5(size=48, width=0.25).eval()
    theirs = Cnn5x5(Cnn5x5Params(width=0.25), BuildContext(clip=ClipSpec(1, 1, 48, 48))).eval()
    missing = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert (missing.missing_keys, missing.unexpected_keys) == (["fc5.weight", "fc5.bias"], [])
    frames = torch.rand(3, 1, 1, 48, 48)
    assert torch.equal(ours.embedding(frames[:, 0]), theirs(frames)["embedding"][:, 0])
