"""MNIST and CIFAR-10: reading of the original layouts, invalid files."""

import gzip
import pickle
import struct

import numpy as np
import pytest
from adverse_trees import Python2Pickle, archived, batch, idx, write_cifar10, write_mnist

from blear.contracts import BuildContext, Dataset
from blear.errors import DataError
from blear_adverse.cifar10 import Cifar10
from blear_adverse.cifar_pickle import read_batch
from blear_adverse.mnist import Mnist, read_idx
from blear_adverse.params import Cifar10Params, MnistParams


def mnist(source, **params):
    return Mnist(MnistParams(source=source, **params), BuildContext())


def cifar10(source, **params):
    return Cifar10(Cifar10Params(source=source, **params), BuildContext())


def all_of(dataset, split):
    return [sample for part in dataset.parts(split) for sample in dataset.samples(split, part)]


def test_mnist_in_its_original_layout(tmp_path):
    written = write_mnist(tmp_path)
    data = mnist(tmp_path)
    assert isinstance(data, Dataset)
    assert data.splits == ("train", "test")
    assert data.parts("train") == ["00000-00011"]
    samples = all_of(data, "train")
    assert [s.key for s in samples] == [f"train_{row:05d}" for row in range(12)]
    assert [s.targets["digit"] for s in samples] == [*range(10), 0, 1]
    assert all((s.frames.shape, s.frames.dtype) == ((1, 28, 28, 1), np.uint8) for s in samples)
    assert np.array_equal(np.stack([s.frames[0, ..., 0] for s in samples]), written["train-images-idx3-ubyte"])
    assert [s.targets["digit"] for s in all_of(data, "test")] == [0, 1, 2, 3, 4]


def test_unpacked_files_and_hold_out(tmp_path):
    written = write_mnist(tmp_path)
    for path in list(tmp_path.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    data = mnist(tmp_path, hold_out=3)
    assert data.splits == ("train", "dev", "test")
    rows = {split: [s.meta["row"] for s in all_of(data, split)] for split in data.splits}
    assert rows == {"train": [*range(9)], "dev": [9, 10, 11], "test": [*range(5)]}
    (last,) = (s for s in all_of(data, "dev") if s.key == "dev_00011")
    assert np.array_equal(last.frames[0, ..., 0], written["train-images-idx3-ubyte"][11])


def test_parts_are_blocks_of_five_thousand(tmp_path):
    write_mnist(tmp_path, train=11_000, test=1)
    assert mnist(tmp_path).parts("train") == ["00000-04999", "05000-09999", "10000-10999"]
    assert mnist(tmp_path, hold_out=5500).parts("dev") == ["05500-10499", "10500-10999"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "begins with nothing"),
        (struct.pack(">4i", 2049, 1, 28, 28), "begins with 2049, not with the magic number 2051"),
        (struct.pack(">4i", 2051, -1, 28, 28), r"gives the shape \(-1, 28, 28\)"),
        (idx(np.zeros((2, 28, 28)))[:-1], "promises 1568 bytes, there are 1567"),
        (idx(np.zeros((2, 28, 28))) + b"\0", "promises 1568 bytes, there are more"),
        (idx(np.zeros((12, 27, 28))), "28x27 pixels, not 28x28"),
        (idx(np.zeros((3, 28, 28))), "3 pictures, but 12 labels in train-labels"),
    ],
)
def test_invalid_pictures_of_mnist(tmp_path, content, words):
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match=words):
        mnist(tmp_path).parts("train")


def test_other_invalid_files_of_mnist_are_rejected(tmp_path):
    with pytest.raises(DataError, match=r"no file train-images-idx3-ubyte\.gz"):
        mnist(tmp_path).parts("train")
    write_mnist(tmp_path)
    with pytest.raises(DataError, match="hold_out 12 leaves none of the 12 training samples"):
        mnist(tmp_path, hold_out=12).parts("train")
    with pytest.raises(DataError, match="no split is called 'dev'"):
        mnist(tmp_path).parts("dev")
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(idx(np.array([0, 1, 10, 3, 4]))))
    with pytest.raises(DataError, match="row 2 has the label 10, there are 10 classes"):
        mnist(tmp_path).parts("test")
    labels.write_bytes(labels.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(labels, 1)


@pytest.mark.parametrize("packaging", ["archive", "folder", "parent"])
def test_cifar10_in_its_original_layout(tmp_path, packaging):
    written = write_cifar10(tmp_path)
    source = {"archive": archived(tmp_path), "folder": tmp_path / "cifar-10-batches-py", "parent": tmp_path}[packaging]
    data = cifar10(source)
    assert isinstance(data, Dataset)
    assert data.splits == ("train", "test")
    samples = all_of(data, "train")
    batches = [written[f"data_batch_{n}"] for n in range(1, 6)]
    assert [s.targets["thing"] for s in samples] == [label for b in batches for label in b["labels"]]
    assert [s.key for s in samples] == [f"train_{row:05d}" for row in range(20)]
    red, green, blue = batches[1]["data"][2].reshape(3, 32, 32)  # of row 6: planes, rows
    assert samples[6].frames.shape == (1, 32, 32, 3)
    assert np.array_equal(samples[6].frames[0], np.stack([red, green, blue], axis=-1))
    assert [s.targets["thing"] for s in all_of(data, "test")] == written["test_batch"]["labels"]


def test_the_test_files_are_readable_by_python_and_numpy():
    """The independent reference: Python's own unpickler with numpy, on a file that is trusted."""
    content = batch(1)
    found = pickle.loads(Python2Pickle().dumps(content), encoding="latin1")  # noqa: S301
    assert np.array_equal(found.pop("data"), content["data"])
    assert found == {key: value for key, value in content.items() if key != "data"}


class Evil:
    def __reduce__(self):
        return print, ("executed",)


def test_nothing_in_a_batch_is_executed(capsys):
    for file in (pickle.dumps(Evil()), pickle.dumps({"data": Evil(), "labels": []}, protocol=2)):
        with pytest.raises(DataError, match=r"refers to (builtins|__builtin__)\.print, which is not allowed"):
            read_batch(file, "data_batch_1")
    numpy_call = b"\x80\x02cnumpy.core.multiarray\nfromfile\n(U\x0b/etc/passwdtR."
    with pytest.raises(DataError, match=r"refers to numpy\.core\.multiarray\.fromfile"):
        read_batch(numpy_call, "data_batch_1")
    with pytest.raises(DataError, match="an external object"):
        read_batch(b"Pelsewhere\n.", "data_batch_1")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"labels": [1]}, "has no `data` and `labels`"),
        ([1, 2], "has no `data` and `labels`"),
        (batch(1, labels=[1, 2]), "4 pictures, but 2 labels"),
        (batch(1, labels=["a", 1, 2, 3]), "some that are no class"),
        (batch(1, data=np.zeros((4, 3071), np.uint8)), "no array of bytes with 3072 columns"),
        (batch(1, data=np.zeros((4, 3072), np.int16)), "no array of bytes with 3072 columns"),
        (batch(1, data=np.zeros(3072, np.uint8)), "no array of bytes with 3072 columns"),
    ],
)
def test_other_files_than_batches_are_rejected(content, words):
    with pytest.raises(DataError, match=words):
        read_batch(Python2Pickle().dumps(content), "data_batch_1")


def test_damaged_batches(tmp_path):
    whole = Python2Pickle().dumps(batch(1))
    for broken in (b"", whole[:-1], whole[: len(whole) // 2], b"\x80\x02}(U\x04datae.", b"not a pickle"):
        with pytest.raises(DataError, match="is not opened"):
            read_batch(broken, "data_batch_1")
    rows = whole.replace(struct.pack("<i", 4 * 3072), struct.pack("<i", 3 * 3072), 1)
    with pytest.raises(DataError):
        read_batch(rows, "data_batch_1")
    write_cifar10(tmp_path)
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(DataError, match="no file data_batch_3"):
        cifar10(tmp_path).parts("train")
    with pytest.raises(DataError, match="no cifar-10-batches-py/data_batch_3 in the archive"):
        cifar10(archived(tmp_path)).parts("train")
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="cannot be read"):
        cifar10(tmp_path / "cifar-10-python.tar.gz").parts("train")
