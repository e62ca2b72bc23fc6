"""Codecs that run ahead of training steps give the same frames and weights as in the step, for any thread count."""

import threading

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from blear.contracts import BuildContext
from blear.data.decoded.store import Store
from blear.data.loader import batches
from blear.data.prepared import Prepared
from blear.data.sampling.sampler import Sampler
from blear.degradation.chain import Chain
from blear.errors import DataError
from blear.job.reader import read_job
from blear.pipeline.prepare import prepare_data
from blear.plugin.discovery import load_plugins
from blear.storage.run_folder import RunFolder
from blear.train.loop import train_stage
from blear.train.plan import StagePlan
from blear.train.preprocessing import CpuPreprocessing, Preprocessing
from blear.train.worker import LocalWorker

CPU = torch.device("cpu")
JOB = """\
name: ahead
data:
  faces: {use: faces/procedural, size: 32, frames: 2, targets: [valence], subjects: {train: 4, dev: 2}, per_subject: 4}
stages:
  only:
    data: faces
    augment: [{use: random_flip}]
    degrade:
      - {use: h264, crf: [20, 45], shrink: [1, 2], drop: 0.2}
      - {use: downscale, factor: 2}
    backbone: {use: vlqr/cnn5x5, width: 0.0625}
    head: {use: vlqr/valence}
    optimizer: {use: sgd, lr: 0.01}
    steps: 6
    batch_size: 6
    accumulate: 2
    checkpoint_every: 2
    validate: {every: 3, keep: best, metric: ccc}
"""


@pytest.fixture
def plan(storage, tmp_path):
    """plan("name") -> the stage, with its own run folder."""
    file = tmp_path / "ahead.yaml"
    file.write_text(JOB)

    def make(name):
        job, catalog = read_job(file)
        return StagePlan(job, "only", RunFolder(tmp_path / name), prepare_data(job, catalog, workers=1))

    return make


@pytest.fixture
def store(plan):
    return Store.open(Prepared.open(plan("data").prepared["faces"]), "train")


def inputs(*names, augment=True):
    """Returns the preprocessing of a stage with these degradations."""
    known = {"h264": {"crf": [20, 45], "drop": 0.2}, "jpeg": {"quality": [10, 90]}, "downscale": {"factor": 2}}
    build = load_plugins().get
    flip = [build("degradation", "random_flip").build({}, BuildContext())] if augment else []
    chain = [build("degradation", name).build(known[name], BuildContext()) for name in names]
    return Preprocessing(Chain(flip, 7), Chain(chain, 7, len(flip)), CPU)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("augment", [True, False])
def test_batches_equal_those_of_codecs_in_the_step(store, threads, augment):
    whole = inputs("h264", "jpeg", "downscale", "jpeg", augment=augment)
    ahead, rest = whole.split_cpu()
    assert [len(ahead.degrade.nodes), len(rest.degrade.nodes)] == [2, 2]
    order = Sampler(store.counts, 6, 3)
    plain = list(batches(store, order, 0, 5))
    early = list(batches(store, order, 0, 5, transform=ahead, threads=threads))
    for raw, done in zip(plain, early, strict=True):
        expected, found = whole(raw), rest(done)
        assert torch.equal(found.frames_BTCHW, expected.frames_BTCHW)
        assert torch.equal(found.clean_BTCHW, expected.clean_BTCHW)
        assert torch.equal(found.targets["valence"], expected.targets["valence"])
        assert not torch.equal(expected.frames_BTCHW, expected.clean_BTCHW)


def test_only_codecs_at_the_start_of_degrade_run_ahead():
    for names, count in [((), 0), (("downscale", "h264"), 0), (("h264", "downscale", "h264"), 1), (("jpeg",), 1)]:
        whole = inputs(*names)
        ahead, rest = whole.split_cpu()
        if count == 0:
            assert ahead is None
            assert rest is whole
        else:
            assert len(ahead.degrade.nodes) == count
            assert (ahead.degrade.first, rest.degrade.first) == (1, 1 + count)
            assert not rest.augment.nodes


class Noted:
    """CPU degradation that records its thread."""

    on_cpu = True

    def __init__(self, fails=False):
        self.threads, self.fails = set(), fails

    def draw(self, keys):
        return {}

    def apply(self, frames_BTCHW, draws):
        self.threads.add(threading.current_thread().name)
        if self.fails:
            raise DataError("the encoder refuses", "codec/none")
        return frames_BTCHW

    def levels(self):
        return []


def test_codecs_run_in_the_reading_threads_within_the_budget(store):
    noted = Noted()
    ahead = CpuPreprocessing(Chain([], 0), Chain([noted], 0))
    stream = batches(store, Sampler(store.counts, 6, 3), 0, 10**9, transform=ahead, threads=2)
    first = next(stream)
    assert first.frames_BTCHW.dtype == torch.float32
    assert first.clean_BTCHW.dtype == torch.uint8  # the stored type
    assert first.bytes == 6 * 2 * 3 * 32 * 32 * (4 + 1) + 6 * 4
    stream.close()
    assert noted.threads <= {"blear-batches-0", "blear-batches-1"}
    noted.threads.clear()
    stream = batches(store, Sampler(store.counts, 6, 3), 0, 10**9, transform=ahead, prefetch_bytes=0)
    next(stream)
    stream.close()
    assert noted.threads == {"blear-batches-0"}


def test_an_error_of_a_codec_is_raised_in_the_step(store):
    ahead = CpuPreprocessing(Chain([], 0), Chain([Noted(fails=True)], 0))
    with pytest.raises(DataError, match="codec/none: the encoder refuses"):
        next(batches(store, Sampler(store.counts, 6, 3), 0, 4, transform=ahead, threads=2))


class Dies(LocalWorker):
    """Simulates a worker that fails right after the checkpoint of step 4."""

    def on_checkpoint(self, step, metrics):
        if step == 4:
            raise ConnectionError("lost")


def test_weights_equal_those_of_codecs_in_the_step_also_after_a_resume(plan, monkeypatch):
    ahead, cut = plan("ahead"), plan("cut")
    train_stage(ahead, LocalWorker(CPU))
    with pytest.raises(ConnectionError):
        train_stage(cut, Dies(CPU))
    train_stage(cut, LocalWorker(CPU))
    blocking = plan("blocking")
    monkeypatch.setattr(Preprocessing, "split_cpu", lambda self, steps=None: (None, self))  # everything in the step
    train_stage(blocking, LocalWorker(CPU))
    weights = [load_file(each.run.weights("only")) for each in (ahead, cut, blocking)]
    for name, values in weights[0].items():
        assert np.array_equal(values, weights[1][name]), name
        assert np.array_equal(values, weights[2][name]), name
    logs = [(each.run.stage("only") / "log.jsonl").read_text() for each in (ahead, blocking)]
    assert all('"validation_ccc"' in log for log in logs)
