"""Weight files: tensors are read exactly, no code is executed, damaged files are refused with their cause."""

from __future__ import annotations

import os
import pickle
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from caffe_models import CAFFE, blob, net, v1_net
from fuzzing import fuzz, mutated
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from blear.errors import DataError
from blear.weights.caffe import read_caffemodel
from blear.weights.matlab import from_matlab
from blear.weights.protobuf import ProtobufError, read_fields
from blear.weights.read import read_weights

INPUTS = 1500
TENSORS = {"conv.weight": torch.arange(18.0).reshape(2, 1, 3, 3), "conv.bias": torch.tensor([0.5, -1.0])}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(expected) and all(torch.equal(found[name], expected[name]) for name in expected)


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def test_the_format_is_detected_from_the_content(tmp_path: Path) -> None:
    """The names of these files have no suffix."""
    save_file(TENSORS, tmp_path / "a")
    assert same(read_weights(tmp_path / "a"), dict(sorted(TENSORS.items())))
    torch.save(TENSORS, tmp_path / "b")
    assert same(read_weights(tmp_path / "b"), TENSORS)
    torch.save(TENSORS, tmp_path / "c", _use_new_zipfile_serialization=False)
    assert same(read_weights(tmp_path / "c"), TENSORS)
    with pytest.raises(DataError, match="damaged, or no safetensors file"):
        read_weights(tmp_path / "b", "safetensors")
    with pytest.raises(DataError, match="it holds more than tensors, or is damaged"):
        read_weights(tmp_path / "a", "torch")


def test_a_safetensors_file_may_begin_with_any_byte(tmp_path: Path) -> None:
    """Its first eight bytes are the length of its header: 128 looks like a pickle, 0x4b50 like a zip, 10 like Caffe."""
    for length in (0x80, 0x4B50, 0x0A, 0xA2):
        header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
        if length < len(header):
            length += 0x100
        (tmp_path / "a").write_bytes(struct.pack("<Q", length) + header.ljust(length) + struct.pack("<f", 1.5))
        assert same(read_weights(tmp_path / "a"), {"a": torch.tensor([1.5])})


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_state_dicts_inside_others_lose_the_prefix_of_a_wrapper(tmp_path: Path, key: str) -> None:
    inside = {f"module._orig_mod.{name}": value for name, value in TENSORS.items()}
    torch.save({"epoch": 3, key: inside, "optimizer": {"lr": 0.1}}, tmp_path / "c.pth")
    assert same(read_weights(tmp_path / "c.pth"), TENSORS)
    compiled = {f"_orig_mod.module.module.{name}": value for name, value in TENSORS.items()}  # of a module `module`
    torch.save(compiled, tmp_path / "d.pth")
    assert same(read_weights(tmp_path / "d.pth"), {f"module.{name}": value for name, value in TENSORS.items()})
    others = {"epoch": 3, "sparse": torch.eye(2).to_sparse(), "empty": torch.empty(2, device="meta")}
    torch.save(TENSORS | others, tmp_path / "flat.pth")
    found = read_weights(tmp_path / "flat.pth")
    assert same(found, TENSORS)
    assert found.ignored == {
        "epoch": "not a dense tensor: int",
        "sparse": "not a dense tensor: Tensor",
        "empty": "a tensor without values (meta)",
    }


class Malicious:
    """Creates a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("zipped", [True, False])
def test_no_code_in_a_file_is_executed(tmp_path: Path, zipped: bool) -> None:
    made = tmp_path / "made"
    torch.save(
        {"state_dict": TENSORS, "extra": Malicious(made)}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped
    )
    with pytest.raises(DataError, match=r"it refers to \w+\.mkdir; unpickling it could execute any code") as caught:
        read_weights(tmp_path / "x.pth")
    assert "torch.save(model.state_dict()" in caught.value.do
    (tmp_path / "raw.pkl").write_bytes(pickle.dumps(Malicious(made)))
    with pytest.raises(DataError, match="unpickling it could execute any code"):
        read_weights(tmp_path / "raw.pkl")
    assert not made.exists()
    pickle.loads((tmp_path / "raw.pkl").read_bytes())  # noqa: S301  it really is malicious
    assert made.exists()


def test_a_whole_model_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(DataError, match=r"it refers to torch\.nn\.modules\.linear\.Linear"):
        read_weights(tmp_path / "model.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_weights(tmp_path / "none")
    (tmp_path / "text").write_text("weights")
    with pytest.raises(DataError, match="neither safetensors, nor PyTorch's, nor a caffemodel"):
        read_weights(tmp_path / "text")
    (tmp_path / "h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(DataError, match="HDF5"):
        read_weights(tmp_path / "h5")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    with pytest.raises(DataError, match="it has no named tensors"):
        read_weights(tmp_path / "list.pt")


def test_a_caffemodel_gives_every_blob_its_name(tmp_path: Path) -> None:
    kernel, bias = array(4, 3, 5, 5), array(4)
    mean, variance, gamma, beta = array(4, seed=1), array(4, seed=2) ** 2, array(4, seed=3), array(4, seed=4)
    matrix = np.random.default_rng(5).normal(size=(2, 36))
    layers = [
        ("conv1", "Convolution", [blob(kernel), blob(bias)]),
        ("bn1", "BatchNorm", [blob(mean * 4), blob(variance * 4), blob(np.array([4.0], np.float32))]),
        ("scale1", "Scale", [blob(gamma), blob(beta)]),
        ("fc", "InnerProduct", [blob(matrix, double=True)]),
        ("own", "Python", [blob(bias), blob(bias), blob(kernel)]),
    ]
    (tmp_path / "net").write_bytes(net(*layers))
    found = read_weights(tmp_path / "net")
    expected = {
        "conv1.weight": kernel,
        "conv1.bias": bias,
        "bn1.running_mean": mean,
        "bn1.running_var": variance,
        "scale1.weight": gamma,
        "scale1.bias": beta,
        "fc.weight": matrix.astype(np.float32),
        "own.weight": bias,
        "own.bias": bias,
        "own.blob2": kernel,
    }
    assert same(found, {name: torch.from_numpy(value) for name, value in expected.items()})


def test_batch_norm_statistics_without_batches_are_zero_as_in_caffe(tmp_path: Path) -> None:
    layer = ("bn", "BatchNorm", [blob(array(2)), blob(array(2)), blob(np.zeros(1, np.float32))])
    (tmp_path / "net").write_bytes(net(layer))
    assert same(read_weights(tmp_path / "net"), {"bn.running_mean": torch.zeros(2), "bn.running_var": torch.zeros(2)})


def test_legacy_shapes_of_matrices_and_biases_lose_their_leading_ones(tmp_path: Path) -> None:
    kernel, bias, matrix = array(1, 1, 4, 4), array(1), array(3, 4)
    layers = [
        ("up", 39, [blob(kernel, legacy=True), blob(bias, legacy=True)]),
        ("fc6", 14, [blob(matrix, legacy=True), blob(array(3), legacy=True)]),
        ("relu", 18, []),
    ]
    (tmp_path / "old.caffemodel").write_bytes(v1_net(*layers))
    found = read_weights(tmp_path / "old.caffemodel")
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {"up.weight": (1, 1, 4, 4), "up.bias": (1,), "fc6.weight": (3, 4), "fc6.bias": (3,)}
    assert torch.equal(found["fc6.weight"], torch.from_numpy(matrix))


def test_repeated_numbers_that_are_not_packed_are_read(tmp_path: Path) -> None:
    """Older writers store each float and each dimension as a field of its own."""
    body = bytes([7 << 3 | 2, 4, 1 << 3, 2, 1 << 3, 1])  # shape {dim: 2 dim: 1}
    body += b"".join(bytes([5 << 3 | 5]) + struct.pack("<f", value) for value in (1.5, -2.0))
    layer = b"\x0a\x01c" + bytes([7 << 3 | 2, len(body)]) + body
    (tmp_path / "net").write_bytes(b"\xa2\x06" + bytes([len(layer)]) + layer)
    assert same(read_weights(tmp_path / "net"), {"c.weight": torch.tensor([[1.5], [-2.0]])})


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(1, 5), min_size=0, max_size=6), min_size=1, max_size=4), st.booleans())
def test_blobs_of_any_shape_are_read(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[list[int]], double: bool
) -> None:
    path = tmp_path_factory.mktemp("caffe") / "net"
    arrays = [array(*shape, seed=number) for number, shape in enumerate(shapes)]
    path.write_bytes(net(*((f"l{n}", "Any", [blob(a, double=double)]) for n, a in enumerate(arrays))))
    assert same(read_weights(path), {f"l{n}.weight": torch.from_numpy(a) for n, a in enumerate(arrays)})


def _damaged(case: str) -> bytes:
    whole = net(("conv", "Convolution", [blob(array(2, 3))]))
    wrong = blob(array(2, 3))
    wrong.shape.dim[0] = 3
    negative = blob(array(2, 3))
    negative.shape.dim[:] = [-2, -3]
    deep = blob(array(1))
    deep.shape.dim[:] = [1] * 33
    old = CAFFE["NetParameter"]()
    old.layers.add().layer.name = "conv"
    return {
        "cut": whole[:-3],
        "twice": net(*[("conv", "Convolution", [blob(array(1))])] * 2),
        "size": net(("conv", "Convolution", [wrong])),
        "negative": net(("conv", "Convolution", [negative])),
        "deep": net(("conv", "Convolution", [deep])),
        "empty": net(("relu", "ReLU", [])),
        "v0": old.SerializeToString(),
        "group": b"\x0a\x00" + bytes([3 << 3 | 3]),
    }[case]


@pytest.mark.parametrize(
    ("case", "cause"),
    [
        ("cut", r"field 100 of \d+ bytes at byte \d+, where \d+ are left"),
        ("twice", "conv.weight occurs twice"),
        ("size", r"a blob of 6 numbers whose shape is \[3, 3\]"),
        ("negative", r"a blob of 6 numbers whose shape is \[-2, -3\]"),
        ("deep", "more than 32"),
        ("empty", "no layer has weights"),
        ("v0", "upgrade_net_proto_binary"),
        ("group", "field 3 of kind 3"),
    ],
)
def test_the_error_of_a_damaged_caffemodel_names_the_cause(tmp_path: Path, case: str, cause: str) -> None:
    (tmp_path / "net").write_bytes(_damaged(case))
    with pytest.raises(DataError, match=cause):
        read_weights(tmp_path / "net", "caffemodel")


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_refused(data: bytes) -> None:
    """The fields together are no longer than the data."""
    read = 0
    try:
        for field in read_fields(memoryview(data)):
            read += 2 if isinstance(field.value, int) else 1 + len(field.value)
    except ProtobufError:
        pass
    assert read <= len(data)


class Small(nn.Module):
    """Two convolutions and two inner products on square maps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 4, (3, 3))
        self.fc6, self.fc7 = nn.Linear(4 * 4 * 4, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc7(self.fc6(self.conv2(self.conv1(x).relu()).relu().flatten(1)).relu())


def test_a_network_for_transposed_images_becomes_one_for_upright_images(tmp_path: Path) -> None:
    """The converted network gives for x the output of the original for x^T."""
    torch.manual_seed(0)
    trained, converted = Small(), Small()
    kinds = {"conv1": "Convolution", "conv2": "Convolution", "fc6": "InnerProduct", "fc7": "InnerProduct"}
    layers = [
        (n, kind, [blob(p.detach().numpy()) for p in getattr(trained, n).parameters()]) for n, kind in kinds.items()
    ]
    (tmp_path / "net").write_bytes(net(*layers))
    found = from_matlab(read_weights(tmp_path / "net"), "net")
    assert found.reordered == ["conv1.weight", "conv2.weight", "fc6.weight"]
    converted.load_state_dict(found)
    pictures = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(converted(pictures), trained(pictures.transpose(2, 3)), atol=1e-6)
        assert not torch.allclose(converted(pictures), trained(pictures), atol=1e-3)


def test_a_feature_map_that_is_not_square_is_refused(tmp_path: Path) -> None:
    layers = [("conv", "Convolution", [blob(array(4, 1, 3, 3))]), ("fc", "InnerProduct", [blob(array(2, 24))])]
    (tmp_path / "net").write_bytes(net(*layers))
    with pytest.raises(DataError, match=r"fc\.weight has 24 inputs, which are not 4 square maps"):
        from_matlab(read_weights(tmp_path / "net"), "net")


def inputs(rng: random.Random, folder: Path):
    """Damaged files of each format, for `fuzzing`."""
    save_file(TENSORS, folder / "a")
    torch.save({"state_dict": TENSORS}, folder / "b")
    torch.save(TENSORS, folder / "c", _use_new_zipfile_serialization=False)
    caffe = net(("c", "Convolution", [blob(array(2, 3)), blob(array(2))]), ("b", "BatchNorm", [blob(array(1))] * 3))
    old = v1_net(("c", 14, [blob(array(2, 3), legacy=True)]))
    wholes = [(folder / name).read_bytes() for name in "abc"] + [caffe, old] * 3
    tokens = (b"\xff" * 9 + b"\x01", b"\x80" * 11, b"\0", b"\xff" * 8, b"{", b"]", b"PK", b"\x80\x02", b"(K\x01.", b"c")
    file = folder / "weights"
    while True:
        data = mutated(rng, rng.choice(wholes), tokens)

        def call(data: bytes = data) -> None:
            file.write_bytes(data)
            from_matlab(
                read_weights(file, rng.choice(["auto", "auto", "torch", "caffemodel", "safetensors"])), "weights"
            )

        yield data, call


def test_damaged_files_are_read_or_raise_a_data_error() -> None:
    result = fuzz(__file__, seed=1, count=INPUTS)
    assert result["failures"] == []
    assert result["ran"] == INPUTS
    assert result["accepted"] > INPUTS / 20
    assert sum(result["refused"].values()) > INPUTS / 4


def test_the_reader_of_caffemodels_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_caffemodel(tmp_path / "none.caffemodel")
