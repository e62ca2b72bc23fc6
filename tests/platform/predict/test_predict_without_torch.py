"""On the CPU, `blear predict` runs a model folder with an ONNX graph without torch, and within 700 MB on 4K video."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import blear
from blear.models.card import GRAPH_FILE, WEIGHTS_FILE
from blear.models.for_prediction import WEIGHTS_DIGEST, open_for_prediction, open_graph
from blear.models.inference import for_inference
from blear.models.onnx import OnnxModel
from blear.models.shipped import find_model, shipped_models

_PREDICT = """
import re, sys
from pathlib import Path
from blear.__main__ import main
try:
    main()
except SystemExit as done:
    assert not done.code
print("torch" in sys.modules, int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024)
"""


@pytest.mark.parametrize("name", ["robust-faces", "procedural-faces"])
def test_the_graphs_of_shipped_models_give_their_outputs(name: str) -> None:
    graph, model = open_graph(name), for_inference(blear.load(name))
    assert isinstance(graph, OnnxModel)
    assert graph.card == find_model(name).card
    assert graph.metadata[WEIGHTS_DIGEST] == model.card.weights_sha256
    assert (find_model(name).folder / GRAPH_FILE).stat().st_size < 40_000  # it has no weights of its own
    faces = np.random.default_rng(0).integers(0, 256, (70, 60, 50, 3), dtype=np.uint8)
    expected, found = model.predict_arrays(list(faces)), graph.predict_arrays(list(faces))
    assert expected.keys() == found.keys()
    for target, values in expected.items():
        np.testing.assert_allclose(found[target], values, atol=2e-6)
        np.testing.assert_array_equal(graph(faces)[target].numpy(), graph.predict_arrays(faces)[target])


def test_every_shipped_model_has_a_graph() -> None:
    assert {one.short_name for one in shipped_models() if (one.folder / GRAPH_FILE).is_file()} >= {
        one.short_name for one in shipped_models() if one.name.startswith("robust/")
    }


def test_a_graph_goes_with_its_weights(tmp_path: Path) -> None:
    source = find_model("procedural-faces").folder
    for file in source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert isinstance(open_for_prediction(str(tmp_path), "cpu"), OnnxModel)
    other = (tmp_path / GRAPH_FILE).read_bytes()
    model = blear.load(tmp_path)
    next(model.network.parameters()).data += 1
    model.save(tmp_path)
    assert not (tmp_path / GRAPH_FILE).exists()
    (tmp_path / GRAPH_FILE).write_bytes(other)  # of the weights before
    assert open_graph(str(tmp_path)) is None
    used = open_for_prediction(str(tmp_path), "cpu")
    face = np.zeros((1, 48, 48, 3), np.uint8)
    np.testing.assert_allclose(used.predict_arrays(face)["emotion"], model(face)["emotion"].numpy(), atol=2e-6)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    for file in find_model("procedural-faces").folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    content = bytearray((tmp_path / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (tmp_path / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(blear.BlearError, match="the weights are not those of card"):
        open_for_prediction(str(tmp_path), "cpu")


def test_a_4k_video_needs_no_torch_and_less_than_700_mb(tmp_path: Path) -> None:
    video, out = tmp_path / "large.mp4", tmp_path / "out.jsonl"
    noise = np.random.default_rng(0).integers(0, 256, (2160, 3840, 3), dtype=np.uint8)
    with av.open(str(video), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = 3840, 2160, "yuv420p"
        for number in range(12):
            image = np.roll(noise // 8 + 100, 16 * number, axis=1)
            target.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        target.mux(stream.encode())
    command = [sys.executable, "-c", _PREDICT, "predict", "robust-faces", str(video), "--out", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    imported, peak = done.stdout.split()[-2:]
    assert imported == "False"
    assert int(peak) < 700
    (facts,) = json.loads(out.with_name("out.jsonl.meta.json").read_text())["inputs"].values()
    assert facts["frames"] == 12
