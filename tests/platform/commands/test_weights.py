"""`blear weights`: the tensors of a file, what fits a backbone, and the table that it proposes."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from blear.cli import cli
from blear.contracts import BuildContext, ClipSpec
from blear.plugin.discovery import load_plugins
from blear.weights.fit import best_fit


def output(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["weights", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_a_file_is_listed(tmp_path: Path) -> None:
    save_file(
        {"b.bias": torch.zeros(3, dtype=torch.float16), "a.weight": torch.zeros(3, 2)}, tmp_path / "w.safetensors"
    )
    lines = output(str(tmp_path / "w.safetensors")).splitlines()
    assert sorted(lines[:2]) == ["a.weight  [3, 2]  float32", "b.bias    [3]  float16"]
    assert lines[2] == "2 tensors, 9 numbers"


def test_a_named_table_is_proposed_for_a_backbone(tmp_path: Path) -> None:
    registered = load_plugins().get("backbone", "fer/vgg_face")
    module = registered.build({"width": 0.0625}, BuildContext(0, ClipSpec(1, 3, 48, 48)))
    table = {ours: theirs for theirs, ours in registered.component.rename_tables["vgg_face_caffe"].items()}
    own = module.state_dict()
    theirs = {}
    for name, value in own.items():
        layer, _, key = name.rpartition(".")
        theirs[f"{table.get(f'{layer}.*', f'{layer}.*').removesuffix('.*')}.{key}"] = value
    file = tmp_path / "vgg.safetensors"
    save_file(theirs | {"fc8.weight": torch.zeros(7, 4)}, file)
    found = output(str(file), "--for", "fer/vgg_face", "--set", "width=0.0625")
    assert found.startswith(f"fer/vgg_face takes {len(own)} of {len(own) + 1} tensors, which are {len(own)} here\n")
    assert "left: fc8.weight: no such name" in found
    assert found.endswith(f'start_from: {{file: "{file}", rename: vgg_face_caffe}}\n')
    assert "stays random" not in found


def test_a_prefix_and_the_order_of_the_layers_give_a_table() -> None:
    own = {"features.0.weight": (4, 1, 3, 3), "features.0.bias": (4,), "fc.weight": (2, 36), "fc.bias": (2,)}
    same = best_fit(own, own, {})
    assert (same.label, dict(same.table), len(same.taken)) == ("", {}, 4)
    prefixed = best_fit({f"net.{name}": shape for name, shape in own.items()}, own, {})
    assert dict(prefixed.table) == {"net.*": "*"}
    other = {"c.weight": (4, 1, 3, 3), "c.bias": (4,), "out.weight": (2, 4, 3, 3), "out.bias": (2,)}
    ordered = best_fit(other, own, {"wrong": {"nothing.*": "*"}})
    assert dict(ordered.table) == {"c.*": "features.0.*", "out.*": "fc.*"}
    assert ordered.missing == ()
    less = best_fit({"c.weight": (4, 1, 3, 3), "c.bias": (4,)}, own, {})
    assert less.missing == ("fc.weight", "fc.bias")
