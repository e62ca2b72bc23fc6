"""Modules that a command, a worker of Ray and a training step do not import, so that they start quickly."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

STEPS = """
import json, sys

def imported():
    known = {name for name in sys.modules if "." not in name or name == "torch._dynamo"}
    return sorted(known)

found = {}
import blear.cli
found["commands"] = imported()
import blear.pipeline.run, blear.train.on_ray.internals, blear.train.on_ray.runner, blear.train.on_ray.worker
found["run"] = imported()

from pathlib import Path
from blear.contracts import BuildContext
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.train.chains import stage_chains

job, catalog = read_job(Path("jobs/robust_fer2013.yaml"))
stored, _ = data_facts(job, catalog)
for name, stage in job.stages.items():
    stage_chains(job, name, catalog, BuildContext(job.seed, stored[stage.data].clip, stored[stage.data].targets))
found["degradations"] = imported()

import torch
from blear.job.schema import Optimizer
from blear.train.optimizer import build_optimizer

for use in ("sgd", "adam", "adamw", "RAdam"):
    model = torch.nn.ModuleDict({"backbone": torch.nn.Linear(2, 2)})
    optimizer = build_optimizer(model, Optimizer(use=use, lr=0.1))
    model["backbone"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
found["optimizers"] = imported()
print(json.dumps(found))
"""

HEAVY = {
    "matplotlib",
    "onnx",
    "pandas",
    "ray",
    "scipy",
    "sympy",
    "torch._dynamo",
    "torchvision",
    "transformers",
    "triton",
}


@pytest.fixture(scope="module")
def imported(repository: Path) -> dict[str, set[str]]:
    """Packages that a new process has imported after each of several steps."""
    done = subprocess.run([sys.executable, "-c", STEPS], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {step: set(names) for step, names in json.loads(done.stdout).items()}


def test_the_command_line_imports_neither_torch_nor_numpy(imported: dict[str, set[str]]) -> None:
    assert "blear" in imported["commands"]
    assert not imported["commands"] & (HEAVY | {"torch", "numpy", "pyarrow", "pydantic", "kornia"})


def test_run_and_workers_import_no_heavy_library_but_torch(imported: dict[str, set[str]]) -> None:
    assert "torch" in imported["run"]
    assert not imported["run"] & (HEAVY | {"kornia", "tensorboard"})


def test_building_degradations_does_not_import_the_compiler(imported: dict[str, set[str]]) -> None:
    assert "kornia" in imported["degradations"]
    assert not imported["degradations"] & {"torch._dynamo", "triton"}


def test_building_and_using_an_optimizer_does_not_import_the_compiler(imported: dict[str, set[str]]) -> None:
    assert not imported["optimizers"] & {"torch._dynamo", "triton"}
