"""MNIST (LeCun, Cortes, Burges): 28x28 grey digits in four IDX files."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from blear.contracts import BuildContext, ClipSpec, Target
from blear.errors import DataError
from blear_adverse.params import MnistParams
from blear_adverse.stills import Pictures, Stills

_SIDE = 28
_UBYTE = 0x08  # IDX type code of unsigned bytes; magic number = 256 * type code + dimensions: 2051, 2049


class Mnist(Stills):
    """Dataset of 60,000 training and 10,000 test digits.

    Raises:
        DataError: a file is missing or damaged, or has another type or shape than expected.
    """

    targets = (Target("digit", "class", tuple("0123456789")),)
    clip = ClipSpec(1, 1, _SIDE, _SIDE)
    terms = "MNIST (LeCun, Cortes, Burges), from NIST's handwriting databases: CC BY-SA 3.0."

    def __init__(self, params: MnistParams, context: BuildContext) -> None:
        super().__init__(params.source, params.hold_out)

    def read(self, training: bool) -> Pictures:
        """Reads all digits of the training or test files."""
        stem = "train" if training else "t10k"
        images, labels = (_file(self.source, f"{stem}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
        frames_NHW, labels_N = read_idx(images, 3), read_idx(labels, 1)
        if frames_NHW.shape[1:] != (_SIDE, _SIDE):
            what = f"its pictures have {frames_NHW.shape[2]}x{frames_NHW.shape[1]} pixels, not {_SIDE}x{_SIDE}"
            raise DataError(what, str(images), "give MNIST's own files")
        if len(frames_NHW) != len(labels_N):
            what = f"{len(frames_NHW)} pictures, but {len(labels_N)} labels in {labels.name}"
            raise DataError(what, str(images), "fetch both files again")
        return Pictures(frames_NHW[..., None], labels_N)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads an IDX file of unsigned bytes, gzipped or not. Returns an array of the file's shape.

    Raises:
        DataError: wrong magic number, wrong number of bytes, or a damaged file.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = np.frombuffer(file.read(4 + 4 * dimensions), dtype=">i4")
            magic = (_UBYTE << 8) + dimensions
            if len(header) != 1 + dimensions or header[0] != magic:
                found = int(header[0]) if len(header) else "nothing"
                raise DataError(f"begins with {found}, not with the magic number {magic}", str(path), "fetch it again")
            shape = tuple(int(size) for size in header[1:])
            if min(shape) < 0:
                raise DataError(f"its header gives the shape {shape}", str(path), "fetch it again")
            wanted = int(np.prod(shape))
            data = file.read(wanted + 1)  # one more than expected: detects excess bytes without unpacking a gzip bomb
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"cannot be read: {error}", str(path), "fetch it again") from error
    if len(data) != wanted:
        more = "more" if len(data) > wanted else str(len(data))
        raise DataError(f"its header promises {wanted} bytes, there are {more}", str(path), "fetch it again")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _file(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            return path
    raise DataError(f"no file {name}.gz", str(folder), "give the folder of MNIST's four files")
