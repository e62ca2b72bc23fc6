"""`import blear` is fast and typed; `blear.degrade` and `blear.Dataset`."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import blear
from blear.contracts import BuildContext, ClipSpec
from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampler import Sampler
from blear.degradation.chain import as_float, build_chain
from blear.errors import DataError, JobError
from blear.imaging import resize_bicubic
from blear.plugin.discovery import load_plugins
from blear.plugin.uses import DegradationUse

NOISE: dict[str, Any] = {"use": "gaussian_noise", "severity": 3}
PROGRAM = """
import sys, time
started = time.perf_counter()
import blear
seconds = time.perf_counter() - started
names = {"torch", "numpy", "ray", "pydantic"} & set(sys.modules)
print(seconds, sorted(names), blear.__version__, sorted(dir(blear)) == sorted(blear.__all__))
"""
USER = """
from pathlib import Path

import numpy as np
import blear

run: blear.Run = blear.run("vlqr", profile="demo", set={"stages.joint.steps": 10})
opened = blear.open(Path("runs") / "vlqr")
best = opened.summary.estimate("max-mix", "downscale", 8.0)
value: float | None = None if best is None else best.value
model: blear.Model = opened.model("joint")
names: dict[str, tuple[str, ...]] = blear.load("robust-faces").labels
faces = np.zeros((2, 48, 48), np.uint8)
blurred = blear.degrade(faces, [{"use": "downscale", "factor": 3}], seed=0)
data = blear.Dataset("shards/faces", "train")
batches = data.batches(8, steps=10)
count: int = len(data) + batches.state_dict()["step"]
model.save("models/mine", half=True, summary="Mine")
"""


def test_the_import_is_fast_and_loads_nothing() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True) for _ in range(3)
    ]
    outputs = [run.stdout.split(maxsplit=1) for run in runs]
    assert min(float(seconds) for seconds, _ in outputs) < 0.2
    assert {rest for _, rest in outputs} == {f"[] {blear.__version__} True\n"}
    with pytest.raises(AttributeError, match="no attribute 'models_'"):
        getattr(blear, "models_")  # noqa: B009


def test_the_log_of_a_run_ends_with_it(run: blear.Run) -> None:
    file = run.folder / "run.log"
    before = file.read_text()
    assert "command: blear.run(" in before
    logging.getLogger("blear").warning("a later record of the caller")
    assert file.read_text() == before
    assert not [handler for handler in logging.getLogger().handlers if type(handler).__module__.startswith("blear.")]


def test_a_run_of_an_older_version_states_no_grey_range(run: blear.Run, tmp_path: Path, capsys) -> None:
    old = tmp_path / "old"
    shutil.copytree(run.folder, old)
    file = old / "stages" / "classes" / "stage.json"
    stage = json.loads(file.read_text())
    assert stage["dataset"]["grey_range"] == "full"
    stage["dataset"]["clip"]["channels"] = 1
    del stage["dataset"]["grey_range"]
    file.write_text(json.dumps(stage))
    with contextlib.suppress(blear.BlearError):  # the weights are of three channels
        blear.load(old)
    assert "stage classes: its data do not state the range of grey values" in capsys.readouterr().err


def test_a_script_without_a_guard_for_its_main_module_runs_once(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from blear.pipeline.prepare import prepare_one\n"
        "print('once')\n"
        "size = {'size': 24, 'targets': ['emotion'], 'subjects': {'train': 9, 'dev': 1}, 'per_subject': 2}\n"
        "print(prepare_one('faces/procedural', size, workers=2).name)\n"
        "print(__file__, __spec__)\n"
    )
    environment = os.environ | {"BLEAR_STORAGE": str(tmp_path)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    once, _, last = done.stdout.splitlines()
    assert (once, last) == ("once", f"{script} None")


def test_mypy_passes_on_a_users_file(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "wrong.py").write_text('import blear\n\nblear.load(3)\nblear.open("runs/x").accuracy\n')
    configuration = "[mypy]\nfollow_imports = skip\nignore_missing_imports = True\n"
    configuration += "[mypy-blear.*,numpy.*]\nfollow_imports = silent\n"  # the packages that others use take a minute
    (tmp_path / "mypy.ini").write_text(configuration)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--strict", "user.py", "wrong.py"]
    environment = os.environ | {"MYPYPATH": str(repository / "platform")}
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    errors = [line for line in result.stdout.splitlines() if ": error:" in line]
    assert [line.split(":")[:2] for line in errors] == [["wrong.py", "3"], ["wrong.py", "4"]], result.stdout


def test_degrade_is_the_chain_of_a_job() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (5, 24, 24, 3), np.uint8)
    small = blear.degrade(faces, [{"use": "downscale", "factor": 3}])
    reference = resize_bicubic(resize_bicubic(faces[0] / 255, 8, 8), 24, 24)
    inside = slice(6, 18)
    np.testing.assert_allclose(small[0][inside, inside] / 255, reference.clip(0, 1)[inside, inside], atol=0.51 / 255)
    assert small.dtype == np.uint8
    noisy = blear.degrade(faces, [NOISE], seed=3)
    np.testing.assert_array_equal(noisy[:2], blear.degrade(faces[:2], [NOISE], seed=3))
    assert not np.array_equal(noisy, blear.degrade(faces, [NOISE], seed=4))
    tensor = torch.from_numpy(faces).permute(0, 3, 1, 2) / 255
    chain, _ = build_chain(load_plugins(), [DegradationUse(**NOISE)], BuildContext(3, ClipSpec(1, 3, 24, 24)))
    numbers = np.arange(5)
    expected = chain(tensor[:, None], numbers * 0, numbers)[:, 0]
    assert torch.equal(blear.degrade(tensor, [NOISE], seed=3), expected)
    np.testing.assert_array_equal(noisy, (expected * 255).round().clamp(0, 255).permute(0, 2, 3, 1).to(torch.uint8))
    grey = blear.degrade(faces[..., 0], [{"one_of": [NOISE, {"use": "downscale", "factor": 2}]}])
    assert grey.shape == (5, 24, 24)
    assert blear.degrade(faces[:, None], [{"use": "random_crop", "size": 16}]).shape == (5, 1, 16, 16, 3)


def test_a_picture_that_becomes_a_sequence_keeps_its_frames() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    noise = [{"use": "imagenet_p", "perturbation": "gaussian_noise"}]
    sequences = blear.degrade(faces, noise)
    assert sequences.shape == (2, 31, 32, 32, 3)
    assert blear.degrade(torch.from_numpy(faces).movedim(-1, 1), noise).shape == (2, 31, 3, 32, 32)
    assert blear.degrade(faces[..., 0], noise).shape == (2, 31, 32, 32)
    np.testing.assert_array_equal(sequences[:, 0], faces)
    assert not np.array_equal(sequences[:, 1], faces)


def test_degrade_names_what_is_wrong() -> None:
    faces = np.zeros((1, 8, 8), np.uint8)
    with pytest.raises(JobError, match=r"degradations: 0\.p: Input should be less than or equal to 1\n  ->"):
        blear.degrade(faces, [{"use": "downscale", "factor": 2, "p": 3}])
    with pytest.raises(blear.BlearError, match="did you mean downscale"):
        blear.degrade(faces, [{"use": "downscal"}])
    with pytest.raises(ValueError, match=r"\[8, 8\]"):
        blear.degrade(faces[0], [])
    with pytest.raises(ValueError, match="int64"):
        blear.degrade(faces.astype(np.int64), [])
    with pytest.raises(ValueError, match="list is no batch"):
        blear.degrade([faces[0]], [])
    with pytest.raises(ValueError, match=r"\[8, 8, 3\] is no batch; of one picture, give images\[None\]"):
        blear.degrade(np.zeros((8, 8, 3), np.uint8), [])
    for wrong in (np.float32(255), np.float32(-1), np.float32("nan")):
        with pytest.raises(ValueError, match=r"are in \[0, 1\], these in"):
            blear.degrade(np.full((1, 8, 8), wrong), [])
    for wrong in ({"use": "downscale", "factor": 2}, "downscale"):
        with pytest.raises(JobError, match="degradations: no list\n  -> give a list like"):
            blear.degrade(faces, wrong)


def test_a_dataset_reads_what_was_prepared(shards: Path, faces: np.ndarray) -> None:
    data = blear.Dataset(shards, "dev")
    frames, targets = data[3]
    assert torch.equal((frames * 255).round().to(torch.uint8), torch.from_numpy(faces[3]).permute(2, 0, 1))
    assert sorted(targets) == ["emotion", "valence"]
    assert data.labels["emotion"][int(targets["emotion"])] in data.labels["emotion"]
    assert len(data) == len(data.keys()) == 12
    assert data.splits[:2] == ("train", "dev")
    assert torch.equal(data[-1][0], data[11][0])
    with pytest.raises(IndexError, match="12 samples, no sample 12"):
        data[12]
    with pytest.raises(IndexError, match="no sample -13"):
        data.__getitems__([0, -13])
    with pytest.raises(DataError, match="no split 'nowhere'"):
        blear.Dataset(shards, "nowhere")
    labels = [target["emotion"] for _, target in data]
    for loaded in (DataLoader(data, batch_size=5), DataLoader(pickle.loads(pickle.dumps(data)), batch_size=5)):  # noqa: S301
        stacked = list(loaded)
        assert [len(images) for images, _ in stacked] == [5, 5, 2]
        assert torch.equal(torch.cat([target["emotion"] for _, target in stacked]), torch.stack(labels))


def test_batches_have_the_order_of_training_and_resume(shards: Path) -> None:
    data = blear.Dataset(shards)
    chain, _ = build_chain(load_plugins(), [DegradationUse(**NOISE)], BuildContext(7, data.clip))
    prepared = Prepared.open(shards)
    store = Store.open(prepared, "train")
    sampler = Sampler([shard.samples for shard in prepared.split("train").shards], 6, 7)
    expected = [
        (chain(as_float(raw.frames_BTCHW, torch.device("cpu")), raw.epochs_B, raw.samples_B, step / 5)[:, 0], raw)
        for step, raw in enumerate(batches(store, sampler, 0, 5))
    ]
    reading = data.batches(6, steps=5, seed=7, degrade=[NOISE])
    found = list(reading)
    assert len(found) == 5
    for (frames, targets), (wanted, raw) in zip(found, expected, strict=True):
        assert torch.equal(frames, wanted)
        assert torch.equal(targets["emotion"], raw.targets["emotion"])
    assert len(reading) == 0
    resumed = data.batches(6, steps=5, seed=7, degrade=[NOISE])
    for _ in zip(range(2), resumed, strict=False):
        pass
    state = resumed.state_dict()
    again = data.batches(6, steps=5, seed=7, degrade=[NOISE])
    again.load_state_dict(state)
    assert len(again) == 5 - state["step"]
    for (frames, _), (wanted, _) in zip(again, found[state["step"] :], strict=True):
        assert torch.equal(frames, wanted)
    ranks = [list(data.batches(6, steps=2, seed=7, rank=rank, world=2)) for rank in range(2)]
    whole = list(data.batches(6, steps=2, seed=7))
    assert torch.equal(ranks[1][1][0], whole[1][0][1::2])


def test_read_only_arrays_are_degraded_without_a_warning():
    images = np.frombuffer(bytes(range(256)) * 2, np.uint8).reshape(2, 16, 16)
    blurred = blear.degrade(images, [{"use": "blur", "sigma": 1.0}])
    np.testing.assert_array_equal(blurred, blear.degrade(images.copy(), [{"use": "blur", "sigma": 1.0}]))
    floats = np.frombuffer(np.zeros(512, np.float32).tobytes(), np.float32).reshape(2, 16, 16)
    np.testing.assert_array_equal(blear.degrade(floats, [{"use": "blur", "sigma": 1.0}]), floats)
