"""`blear weights`: the tensors of a file, what fits a backbone, and the table that it proposes."""

from __future__ import annotations

from pathlib import Path

import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from blear.cli import cli
from blear.contracts import BuildContext, ClipSpec
from blear.job.reader import read_job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.stage_check import StageChecker
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


def test_a_head_is_found_at_the_end_of_a_network(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    save_file({"a.weight": torch.zeros(4, 3, 3, 3), "b.weight": torch.zeros(9, 4), "b.bias": torch.zeros(9)}, file)
    found = output(str(file), "--for", "fer/emotion")
    assert found.startswith("fer/emotion takes 2 of 3 tensors, which are 2 here\nleft: a.weight: no such name\n")
    assert found.endswith(f'start_from: {{file: "{file}", rename: {{"b.*": "linear.*"}}}}\n')


JOB = """name: own
data: {faces: {use: faces/procedural, size: 48, color: luma, targets: [valence]}}
stages:
  plain:
    data: faces
    backbone: {use: cnn5x5, width: 0.05}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 1
"""


def test_a_stage_takes_a_whole_file_or_each_part_its_own_names(tmp_path: Path) -> None:
    job, file, other = (tmp_path / name for name in ("job.yaml", "stage.safetensors", "other.safetensors"))
    job.write_text(JOB)
    read, catalog = read_job(job)
    own = StageChecker(read, catalog, data_facts(read, catalog)[0], 1, False).initial_model("plain").state_dict()
    save_file(own, file)
    found = output(str(file), "--job", str(job))
    assert found == f"stage plain takes {len(own)} of {len(own)} tensors, which are {len(own)} here\n\n" + (
        f'stages.plain.start_from: {{file: "{file}"}}\n'
    )
    backbone = {f"net.{name.removeprefix('backbone.')}": value for name, value in own.items() if "backbone." in name}
    save_file(backbone, other)
    found = output(str(other), "--job", str(job), "--for", "plain")
    assert f"cnn5x5 takes {len(backbone)} of {len(backbone)} tensors, which are {len(backbone)} here" in found
    assert f'stages.plain.backbone.start_from: {{file: "{other}", rename: {{"net.*": "*"}}}}' in found
    assert f"valence takes 0 of {len(backbone)} tensors, which are {len(own) - len(backbone)} here" in found
    assert "stages.plain.head" not in found
    result = CliRunner().invoke(cli, ["weights", str(file), "--job", str(job), "--for", "plain.heads.x"])
    assert "stage 'plain' has no part 'heads.x'" in str(result.exception)
