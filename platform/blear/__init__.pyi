"""Types of the Python API; the names are imported at run time when they are first used."""

from blear.data.torch_dataset import Dataset as Dataset
from blear.degradation.arrays import degrade as degrade
from blear.errors import BlearError as BlearError
from blear.models.load import load as load
from blear.models.model import Model as Model
from blear.pipeline.finished_run import Run as Run
from blear.pipeline.finished_run import open_run as open
from blear.pipeline.from_python import run as run

__all__ = ["BlearError", "Dataset", "Model", "Run", "__version__", "degrade", "load", "open", "run"]

__version__: str
