"""Writers of MNIST and CIFAR-10 in the original layouts, with a few pictures."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np


def idx(array: np.ndarray) -> bytes:
    """An IDX file of unsigned bytes: magic number, sizes (big-endian), bytes."""
    return struct.pack(f">{1 + array.ndim}i", 0x0800 + array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, train: int = 12, test: int = 5) -> dict[str, np.ndarray]:
    """Writes the four gzip files. Returns their contents by file name."""
    rng = np.random.default_rng(0)
    written = {}
    for stem, count in (("train", train), ("t10k", test)):
        written[f"{stem}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        written[f"{stem}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    for name, array in written.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
    return written


class Python2Pickle:
    """Writes the opcodes that Python 2's pickle, protocol 2, writes for a batch: its texts are byte strings."""

    def __init__(self) -> None:
        self.out = io.BytesIO()

    def dumps(self, value: Any) -> bytes:
        """The whole file."""
        self.out.write(b"\x80\x02")
        self.put(value)
        self.out.write(b".")
        return self.out.getvalue()

    def put(self, value: Any) -> None:
        """One value."""
        write = self.out.write
        if isinstance(value, str | bytes):
            data = value.encode() if isinstance(value, str) else value
            write(b"U" + bytes([len(data)]) if len(data) < 256 else b"T" + struct.pack("<i", len(data)))
            write(data)
        elif value is None or isinstance(value, bool):
            write({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, int):
            write(b"K" + bytes([value]) if 0 <= value < 256 else b"J" + struct.pack("<i", value))
        elif isinstance(value, list):
            write(b"](")
            for item in value:
                self.put(item)
            write(b"e")
        elif isinstance(value, tuple):
            write(b"(")
            for item in value:
                self.put(item)
            write(b"t")
        elif isinstance(value, dict):
            write(b"}(")
            for key, item in value.items():
                self.put(key)
                self.put(item)
            write(b"u")
        else:
            self.array(value)

    def array(self, value: np.ndarray) -> None:
        """As numpy's `__reduce__` has it: _reconstruct(ndarray, (0,), 'b'), then the state."""
        self.out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n")
        self.put((0,))
        self.put("b")
        self.out.write(b"\x87R(K\x01")
        self.put(value.shape)
        self.out.write(b"cnumpy\ndtype\n")
        self.put((value.dtype.str.lstrip("|<"), 0, 1))
        self.out.write(b"R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb")
        self.put(False)
        self.put(value.tobytes())
        self.out.write(b"tb")


def batch(seed: int, count: int = 4, **more: Any) -> dict[str, Any]:
    """Returns the contents of one batch file."""
    rng = np.random.default_rng(seed)
    return {
        "batch_label": f"training batch {seed} of 5",
        "labels": [int(n) for n in rng.integers(0, 10, count)],
        "data": rng.integers(0, 256, (count, 3072), dtype=np.uint8),
        "filenames": [f"picture_s_{n:06d}.png" for n in range(count)],
    } | more


def write_cifar10(folder: Path) -> dict[str, dict[str, Any]]:
    """Writes cifar-10-batches-py into `folder`. Returns the contents of each batch."""
    names = [f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]
    written = {name: batch(seed) for seed, name in enumerate(names, 1)}
    inside = folder / "cifar-10-batches-py"
    inside.mkdir(parents=True)
    for name, content in written.items():
        (inside / name).write_bytes(Python2Pickle().dumps(content))
    return written


def archived(folder: Path) -> Path:
    """cifar-10-python.tar.gz beside the folder."""
    path = folder / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder / "cifar-10-batches-py", "cifar-10-batches-py")
    return path
