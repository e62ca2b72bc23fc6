"""CIFAR-10 (Krizhevsky 2009), Python version: 32x32 colour pictures of ten classes."""

from __future__ import annotations

import tarfile
import zlib
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Target
from blear.errors import DataError
from blear_adverse.cifar_pickle import read_batch
from blear_adverse.params import Cifar10Params
from blear_adverse.stills import Pictures, Stills

_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FOLDER = "cifar-10-batches-py"
_TRAIN = tuple(f"data_batch_{number}" for number in range(1, 6))
_MAX_BYTES = 1 << 28  # batches have 31 MB


class Cifar10(Stills):
    """Dataset of 50,000 training and 10,000 test pictures, read from the archive or from its folder.

    Raises:
        DataError: a batch is missing or damaged, or contains other than plain data.
    """

    targets = (Target("thing", "class", _NAMES),)
    clip = ClipSpec(1, 3, 32, 32)
    terms = "CIFAR-10 (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009): no licence is stated."

    def __init__(self, params: Cifar10Params, context: BuildContext) -> None:
        super().__init__(params.source, params.hold_out)

    def read(self, training: bool) -> Pictures:
        """Reads and concatenates the batches."""
        batches = [
            read_batch(content, f"{self.source}: {name}")
            for name, content in _contents(self.source, _TRAIN if training else ("test_batch",))
        ]
        return Pictures(np.concatenate([frames for frames, _ in batches]), np.concatenate([n for _, n in batches]))


def _contents(source: Path, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
    try:
        if source.is_file():
            with tarfile.open(source) as archive:
                return [(name, _member(archive, name, source)) for name in names]
        folder = source / _FOLDER if (source / _FOLDER).is_dir() else source
        return [(name, (folder / name).read_bytes()) for name in names]
    except FileNotFoundError as error:
        do = f"give cifar-10-python.tar.gz or its folder {_FOLDER}"
        raise DataError(f"no file {Path(error.filename).name}", str(source), do) from error
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(f"cannot be read: {error}", str(source), "fetch it again") from error


def _member(archive: tarfile.TarFile, name: str, source: Path) -> bytes:
    try:
        member = archive.getmember(f"{_FOLDER}/{name}")
    except KeyError as error:
        raise DataError(f"no {_FOLDER}/{name} in the archive", str(source), "give cifar-10-python.tar.gz") from error
    file = archive.extractfile(member) if member.isfile() and member.size <= _MAX_BYTES else None
    if file is None:
        raise DataError(f"{name} is no file of a batch's size", str(source), "give cifar-10-python.tar.gz")
    return file.read()
