"""Damaged and hostile model files: ONNX, torch.export, safetensors, model folders. All are derived from a seed."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import load_file, save_file
from torch import nn

from blear.contracts import ClipSpec, Target
from blear.models.card import ModelCard
from blear.models.model import Model
from blear.models.quiet import quiet

LABELS = ("sad", "happy", "neutral")
CARD = ModelCard(
    name="small",
    network={"backbone": {"use": "vlqr/cnn5x5", "width": 0.02}, "head": {"use": "fer/emotion"}},
    clip=ClipSpec(1, 1, 32, 32),
    targets=(Target("emotion", "class", LABELS),),
    labels={"emotion": LABELS},
)
DEEP = "[" * 100_000
EVIL = "from pathlib import Path\nPath(__file__).with_name('touched').touch()\nPLUGIN_API = 1\n"
"""A plugin that leaves a trace when it is imported."""


def onnx_model(folder: Path) -> Path:
    """A small valid network: the mean of each channel, a linear layer."""
    return _save(_onnx(), folder / "valid.onnx")


def torch_export_model(folder: Path) -> Path:
    """A small valid network with an open batch."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3)).eval()
    batch = ({0: torch.export.Dim("batch")},)
    traced = torch.export.export(net, (torch.zeros(2, 3, 24, 24),), dynamic_shapes=batch)
    torch.export.save(traced, folder / "valid.pt2", extra_files={"blear.labels": ",".join(LABELS)})
    return folder / "valid.pt2"


def model_folder(folder: Path) -> Path:
    """A small valid model folder with random weights."""
    return Model(CARD).save(folder / "valid")


def damaged(file: Path, out: Path, count: int, seed: int) -> Iterator[Path]:
    """Yields `count` files: truncated, changed bytes, zeroed, repeated and inserted blocks; each replaces the last."""
    content, draw = file.read_bytes(), random.Random(seed)
    for number in range(count):
        kind, size, at = number % 5, len(content), draw.randrange(len(content))
        length = min(draw.choice((1, 8, 64, 4096)), size - at)
        if kind == 0:
            changed = content[:at]
        elif kind == 1:
            whole = bytearray(content)
            for _ in range(draw.choice((1, 4, 32))):
                whole[draw.randrange(size)] = draw.randrange(256)
            changed = bytes(whole)
        elif kind == 2:
            changed = content[:at] + bytes(length) + content[at + length :]
        elif kind == 3:
            changed = content[:at] + content[at : at + length] * 3 + content[at + length :]
        else:
            changed = content[:at] + draw.randbytes(length) + content[at:]
        place = out / f"damaged{file.suffix}"
        place.write_bytes(changed)
        yield place


def hostile_onnx(out: Path) -> Iterator[tuple[str, Path]]:
    """Yields (what is wrong, file)."""
    _extra_files(out)
    for name, location in {
        "absolute place of external data": "/etc/hostname",
        "external data outside the folder": "../outside.bin",
        "missing external data": "missing.bin",
        "external data that are a folder": ".",
        "external data behind a link": "link.bin",
        "external data in a pipe": "pipe.bin",
    }.items():
        yield name, _save(_external(location), out / "external.onnx")
    yield "external data beyond their file", _save(_external("beside.bin", offset="1000"), out / "external.onnx")
    huge = 1 << 40
    yield "huge input", _save(_onnx(size=1 << 20), out / "huge.onnx")
    yield "huge weight without data", _save(_onnx(weight=_dims([huge, huge])), out / "huge.onnx")
    yield "negative dimension", _save(_onnx(weight=_dims([-3, -3])), out / "huge.onnx")
    for count in (huge, 8_000_000_000):
        yield f"constant of {count} values", _save(_filled(count), out / "huge.onnx")
    yield "huge resize", _save(_resized(100_000.0), out / "huge.onnx")
    for kind in (TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL, TensorProto.DOUBLE):
        yield f"input of type {kind}", _save(_onnx(kind=kind), out / "types.onnx")
    yield "no input", _save(_without(_onnx(), "input"), out / "types.onnx")
    yield "no output", _save(_without(_onnx(), "output"), out / "types.onnx")
    yield "no nodes", _save(_without(_onnx(), "node"), out / "types.onnx")
    yield "output of another rank", _save(_scalar(), out / "types.onnx")
    yield "output of no values", _save(_cast(TensorProto.STRING), out / "types.onnx")
    yield "unknown operator", _save(_node("Explode", "net.unknown"), out / "types.onnx")
    yield "nested graphs", _save(_nested(400), out / "nested.onnx")
    for name, value in {
        "labels": ",".join(map(str, range(200_000))),
        "size": "1000000000",
        "range": "nan,inf",
        "std": "0",
        "mean": "1,2,3,4,5",
        "framing": DEEP,
        "card": DEEP,
        "color": "infrared",
    }.items():
        yield f"metadata {name}", _save(_onnx(metadata={name: value}), out / "metadata.onnx")
    content = _onnx().SerializeToString().replace(b"sad,", b"\xa9ad,")
    yield "metadata that are no UTF-8", _save(_Raw(content), out / "metadata.onnx")
    for name, changed in hostile_cards():
        yield f"card with {name}", _save(_onnx(metadata={"card": json.dumps(changed)}), out / "metadata.onnx")


def endless_onnx(out: Path, above: float = -1) -> Path:
    """A network whose loop runs 2^62 times if the mean of the pictures is above a value, else never."""
    kinds = {"i": TensorProto.INT64, "go": TensorProto.BOOL, "x": TensorProto.FLOAT}
    inputs = [helper.make_tensor_value_info(name, kind, None if name == "x" else []) for name, kind in kinds.items()]
    outputs = [
        helper.make_tensor_value_info("still", TensorProto.BOOL, []),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    ]
    steps = [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Mul", ["x", "x"], ["y"])]
    body = helper.make_graph(steps, "body", inputs, outputs)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "above"], ["bright"]),
        helper.make_node("Loop", ["count", "bright", "flat"], ["scores"], body=body),
    ]
    constants = {"count": np.array(1 << 62), "above": np.array(above, np.float32)}
    return _save(_model(nodes, [numpy_helper.from_array(a, n) for n, a in constants.items()]), out / "endless.onnx")


def growing_onnx(out: Path) -> Path:
    """A network of 2^24 nodes: each of 24 functions calls the one before it twice."""
    own, opsets = "net.own", [helper.make_opsetid("", 17), helper.make_opsetid("net.own", 1)]
    functions = [helper.make_function(own, "f0", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opsets)]
    for number in range(1, 25):
        calls = [helper.make_node(f"f{number - 1}", [a], [b], domain=own) for a, b in (("x", "a"), ("a", "y"))]
        functions.append(helper.make_function(own, f"f{number}", ["x"], ["y"], calls, opsets))
    model = _model([helper.make_node("f24", ["images"], ["scores"], domain=own)], out=("n", 3, 24, 24))
    model.opset_import.append(opsets[1])
    model.functions.extend(functions)
    return _save(model, out / "growing.onnx")


def endless_torch_export(out: Path) -> Path:
    """A network whose loop has no end."""

    class Endless(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            first = (images.mean(dim=(2, 3)), torch.zeros((), dtype=torch.int64))
            loop = torch._higher_order_ops.while_loop(lambda x, n: n < 1, lambda x, n: (x * 0.5, n * 1), first)
            return loop[0]

    with quiet():
        program = torch.export.export(Endless(), (torch.zeros(1, 3, 24, 24),))
        torch.export.save(program, out / "endless.pt2", extra_files={"blear.labels": ",".join(LABELS)})
    return out / "endless.pt2"


def hostile_torch_export(valid: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Yields (what is wrong, file)."""
    place = out / "hostile.pt2"

    def changed(edit: Callable[[str, bytes], bytes | None], **options: int) -> Path:
        with zipfile.ZipFile(valid) as old, zipfile.ZipFile(place, "w", **options) as new:
            for member in old.namelist():
                content = edit(member.partition("/")[2], old.read(member))
                if content is not None:
                    new.writestr(member, content)
        return place

    def model(edit: Callable[[str], str]) -> Path:
        return changed(lambda name, c: edit(c.decode()).encode() if name == "models/model.json" else c)

    yield (
        "a compressed bomb",
        changed(
            lambda name, c: bytes(200 << 20) if name == "models/model.json" else c, compression=zipfile.ZIP_DEFLATED
        ),
    )
    names = ["models/model.json", "data/weights/model_weights_config.json", "archive_format", "version", "byteorder"]
    for missing in names:
        yield f"no {missing}", changed(lambda name, c, missing=missing: None if name == missing else c)
    for content in (b"", b"{}", b"[]", b"null", DEEP.encode(), b"\xff\xfe", b'{"graph_module": 5}'):
        for member in names[:2]:
            what = f"{content[:20]!r} as {member}"
            yield what, changed(lambda name, c, m=member, new=content: new if name == m else c)
    for size in ("1099511627776", "-1", '"a"', "null", "1e300"):
        yield f"a size of {size}", model(lambda text, s=size: text.replace('{"as_int": 24}', f'{{"as_int": {s}}}'))
    for expression in (
        "Pow(Integer(10), Integer(10000000000))",
        "Pow(Pow(Pow(Pow(Pow(Integer(9), Integer(16)), Integer(16)), Integer(16)), Integer(16)), Integer(16))",
        "9**9**9**9",
        "1 << 10000000000",
        "(" * 5000 + "1" + ")" * 5000,
        "Integer(" + "9" * 9000 + ")",
    ):
        yield (
            f"expression {expression[:30]}",
            model(lambda text, e=expression: text.replace('"expr_str": "', f'"expr_str": "{e}", "was": "')),
        )
    yield "a list as card", changed(lambda name, c: b"[]" if name == "extra/blear.labels" else c)
    yield "an empty archive", _zip(place, {})
    yield "names outside the archive", _zip(place, {"../../escaped": b"x", "a/models/model.json": b"{}"})
    yield "a member of a declared terabyte", _lying(valid, place)


def hostile_folders(valid: Path, out: Path) -> Iterator[tuple[str, Path]]:
    """Yields (what is wrong, model folder or weights file)."""
    folder = out / "folder"
    for name, card in hostile_cards():
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(valid, folder)
        (folder / "evil.py").write_text(EVIL)
        (folder / "card.json").write_text(json.dumps(card).replace("EVIL", str(folder / "evil.py")))
        yield f"card with {name}", folder
        state = load_file(valid / "model.safetensors")
        embedded = json.dumps(card).replace("EVIL", str(folder / "evil.py"))
        save_file(state, folder / "alone.safetensors", {"blear.card": embedded})
        yield f"embedded card with {name}", folder / "alone.safetensors"
    for name, content in {"deep JSON": DEEP, "a list": "[]", "nothing": "", "text": "card", "null": "null"}.items():
        (folder / "card.json").write_text(content)
        yield f"{name} as card", folder
    shutil.copy(valid / "card.json", folder)
    text = json.loads((folder / "card.json").read_text()) | {"weights_sha256": ""}
    (folder / "card.json").write_text(json.dumps(text))
    weights = folder / "model.safetensors"
    first = next(iter(load_file(valid / "model.safetensors")))
    for name, header in {
        "a header of 2^60 bytes": (1 << 60, b"{}"),
        "a header that is a list": (2, b"[]"),
        "deep JSON in the header": (len(DEEP), DEEP.encode()),
        "huge shapes": _header({first: {"dtype": "F32", "shape": [1 << 40, 1 << 40], "data_offsets": [0, 4]}}),
        "negative shapes": _header({first: {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}),
        "offsets beyond the file": _header({first: {"dtype": "F32", "shape": [1], "data_offsets": [1 << 50, 4]}}),
        "an unknown type": _header({first: {"dtype": "OBJECT", "shape": [1], "data_offsets": [0, 4]}}),
        "no tensors": _header({}),
    }.items():
        weights.write_bytes(struct.pack("<Q", header[0]) + header[1] + bytes(4))
        yield f"weights with {name}", folder
    weights.unlink()
    yield "no weights", folder
    weights.mkdir()
    yield "a folder as weights", folder


def hostile_cards() -> Iterator[tuple[str, dict]]:
    """Yields (what is wrong, content of card.json)."""
    valid = json.loads(CARD.to_json())
    changes: dict[str, dict] = {
        "a huge clip": {"clip": {"length": 1, "channels": 1, "height": 1 << 20, "width": 1 << 20}},
        "an empty clip": {"clip": {"length": 1, "channels": 1, "height": 0, "width": 32}},
        "a negative clip": {"clip": {"length": 1, "channels": 1, "height": -32, "width": 32}},
        "a huge network": {"network": valid["network"] | {"backbone": {"use": "vlqr/cnn5x5", "width": 3000.0}}},
        "an unknown network": {"network": {"backbone": {"use": "os/system"}, "head": {"use": "fer/emotion"}}},
        "no network": {"network": {}},
        "weights of a network elsewhere": {
            "network": valid["network"]
            | {"backbone": {"use": "vlqr/cnn5x5", "width": 0.02, "start_from": "/etc/hostname"}}
        },
        "a plugin": {"plugins": ["EVIL"]},
        "a later format": {"format": 99},
        "targets of a wrong type": {"targets": 5},
        "no targets": {"targets": [], "labels": {}},
        "classes of another number": {"targets": [{"name": "emotion", "kind": "class", "classes": ["a"]}]},
        "a wrong framing": {"framing": {"what": 1}},
        "a wrong name": {"name": ["../../x"]},
    }
    for name, change in changes.items():
        yield name, valid | change


def _onnx(
    *,
    size: int = 24,
    kind: int = TensorProto.FLOAT,
    weight: TensorProto | None = None,
    metadata: dict[str, str] | None = None,
) -> onnx.ModelProto:
    matrix = numpy_helper.from_array(np.eye(3, dtype=np.float32), "weight")
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["scores"]),
    ]
    return _model(nodes, [matrix if weight is None else weight], kind, size, metadata)


def _model(nodes, weights=(), kind=TensorProto.FLOAT, size=24, metadata=None, out=("n", 3)) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", kind, ["n", 3, size, size])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, out)],
        list(weights),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    known = {"labels": ",".join(LABELS), **(metadata or {})}
    helper.set_model_props(model, {f"blear.{key}": value for key, value in known.items()})
    return model


def _save(model: onnx.ModelProto | _Raw, file: Path) -> Path:
    file.write_bytes(model.SerializeToString())
    return file


def _dims(dims: list[int]) -> TensorProto:
    tensor = TensorProto(name="weight", data_type=TensorProto.FLOAT, raw_data=b"\0" * 36)
    tensor.dims.extend(dims)
    return tensor


def _external(location: str, **more: str) -> onnx.ModelProto:
    tensor = TensorProto(name="weight", data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL, dims=[3, 3])
    for key, value in {"location": location, "length": "36", **more}.items():
        tensor.external_data.add(key=key, value=value)
    return _onnx(weight=tensor)


def _extra_files(out: Path) -> None:
    """Files that external data may name: a link to a file outside, a pipe, a short file."""
    (out / "beside.bin").write_bytes(bytes(36))
    if not (out / "pipe.bin").exists():
        os.mkfifo(out / "pipe.bin")
        (out / "link.bin").symlink_to("/etc/hostname")


def _filled(count: int) -> onnx.ModelProto:
    shape = numpy_helper.from_array(np.array([count], np.int64), "shape")
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["ones"]),
        helper.make_node("ReduceSum", ["ones"], ["sum"], keepdims=1),
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["flat"]),
        helper.make_node("Add", ["flat", "sum"], ["scores"]),
    ]
    return _model(nodes, [shape])


def _resized(scale: float) -> onnx.ModelProto:
    scales = numpy_helper.from_array(np.array([1, 1, scale, scale], np.float32), "scales")
    nodes = [
        helper.make_node("Resize", ["images", "", "scales"], ["large"]),
        helper.make_node("GlobalAveragePool", ["large"], ["means"]),
        helper.make_node("Flatten", ["means"], ["scores"]),
    ]
    return _model(nodes, [scales])


def _scalar() -> onnx.ModelProto:
    return _model([helper.make_node("ReduceMean", ["images"], ["scores"], keepdims=0)], out=())


def _cast(kind: int) -> onnx.ModelProto:
    model = _onnx()
    model.graph.node[-1].output[0] = "sums"
    model.graph.node.append(helper.make_node("Cast", ["sums"], ["scores"], to=kind))
    model.graph.output[0].type.tensor_type.elem_type = kind
    return model


def _node(operator: str, domain: str) -> onnx.ModelProto:
    return _model([helper.make_node(operator, ["images"], ["scores"], domain=domain)])


def _without(model: onnx.ModelProto, part: str) -> onnx.ModelProto:
    del getattr(model.graph, part)[:]
    return model


def _nested(depth: int) -> _Raw:
    """A message whose graphs are nested; onnx's own classes cannot hold so many."""

    def message(number: int, content: bytes) -> bytes:
        return bytes([number << 3 | 2]) + _varint(len(content)) + content

    graph = b""
    for _ in range(depth):
        graph = message(1, message(5, message(6, graph)))
    return _Raw(message(7, graph))


class _Raw:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def SerializeToString(self) -> bytes:
        return self._content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _header(tensors: dict) -> tuple[int, bytes]:
    content = json.dumps(tensors).encode()
    return len(content), content


def _zip(place: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(place, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return place


def _lying(valid: Path, place: Path) -> Path:
    """A copy whose central directory states other sizes of a member than it has."""
    content = bytearray(valid.read_bytes())
    at = content.find(b"PK\x01\x02")
    struct.pack_into("<II", content, at + 20, 0xFFFFFFF0, 0xFFFFFFF0)
    place.write_bytes(content)
    return place
