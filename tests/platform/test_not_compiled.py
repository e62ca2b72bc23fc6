"""`contracts.not_compiled`: a compiled caller calls the function as Python, and nobody else imports the compiler."""

from __future__ import annotations

import subprocess
import sys

import torch

from blear.contracts import not_compiled

BUILD = """
import sys
from pathlib import Path
from blear.contracts import BuildContext
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.train.chains import stage_chains

job, catalog = read_job(Path("jobs/robust_fer2013.yaml"))
stored, _ = data_facts(job, catalog)
for name, stage in job.stages.items():
    stage_chains(job, name, catalog, BuildContext(job.seed, stored[stage.data].clip, stored[stage.data].targets))
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""


def test_building_degradations_does_not_import_the_compiler(repository) -> None:
    done = subprocess.run([sys.executable, "-c", BUILD], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "False"]


def test_a_compiled_caller_calls_the_function_as_python() -> None:
    sizes: dict[int, float] = {}

    @not_compiled
    def remember(size: int) -> float:
        assert not torch.compiler.is_compiling()
        return sizes.setdefault(size, float(len(sizes) + 1))

    compiled = torch.compile(lambda x: x * remember(x.shape[0]) + 1, backend="eager")
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    assert compiled(torch.ones(3)).tolist() == [2, 2, 2]
    assert sizes == {3: 1.0}
    assert remember(3) == 1.0
