"""blear: recognition that survives bad video. The Python API; `__init__.pyi` has its types.

    blear.run(JOB)          runs a job, from raw data to report
    blear.open(RUN)         a run: summary, predictions, report, models
    blear.load(MODEL)       a trained model as a torch.nn.Module, pictures in, probabilities and values out
    blear.degrade(IMAGES)   any chain of degradations on a batch of pictures
    blear.Dataset(SHARDS)   prepared shards in a PyTorch loop

Each name is imported when it is first used, so that `import blear` is fast and imports no torch.
"""

import importlib
from typing import Any

_API = {
    "BlearError": "blear.errors:BlearError",
    "Dataset": "blear.data.torch_dataset:Dataset",
    "Model": "blear.models.model:Model",
    "Run": "blear.pipeline.finished_run:Run",
    "degrade": "blear.degradation.arrays:degrade",
    "load": "blear.models.load:load",
    "open": "blear.pipeline.finished_run:open_run",
    "run": "blear.pipeline.from_python:run",
}
"""Public name -> "module:attribute"."""

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used."""
    value: Any
    if name == "__version__":
        from importlib.metadata import version  # most of the time of `import blear`

        value = version("blear")
    elif name in _API:
        module, attribute = _API[name].split(":")
        value = getattr(importlib.import_module(module), attribute)
    else:
        raise AttributeError(f"module 'blear' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
