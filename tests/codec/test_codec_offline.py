"""Offline degradation by a codec in prepare: coded frames, clean frames and bit rate are stored."""

import numpy as np
import pytest
import torch
from codec_clips import face
from test_codec_plugin import build, keys

from blear.contracts import BuildContext, ClipSpec, Sample
from blear.data.decoded.store import Store
from blear.data.loader import sequential_batches
from blear.data.prepare.offline_degradation import build_offline_chain, degrade_samples
from blear.data.prepared import Prepared
from blear.degradation.arrays import parse_entries
from blear.degradation.chain import Chain
from blear.errors import JobError
from blear.evaluate.predictions import read_predictions
from blear.job.reader import dump_job, read_job
from blear.pipeline.prepare import prepare_data
from blear.pipeline.run import run_job
from blear.plugin.discovery import load_plugins
from blear_codec.codecs import Settings
from blear_codec.transcode import transcode

JOB = """\
name: once
data:
  faces:
    use: faces/procedural
    size: 32
    frames: 3
    targets: [valence]
    subjects: {train: 16, dev: 3}
    per_subject: 2
    degrade_once: [{use: h264, crf: 33}]
stages:
  only:
    data: faces
    degrade: [{use: downscale, factor: 2}]
    backbone: {use: vlqr/cnn5x5, width: 0.0625}
    head: {use: vlqr/valence}
    optimizer: {use: sgd, lr: 0.001}
    steps: 1
    batch_size: 2
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {only: {stage: only}}
  resamples: 20
"""
CODEC = "data.faces.degrade_once"


@pytest.fixture
def job(tmp_path, storage):
    """job("path=value", ...) -> the job and its catalog."""
    file = tmp_path / "once.yaml"
    file.write_text(JOB)
    return lambda *overrides: read_job(file, overrides=overrides)


def prepared(job, *overrides, workers=1):
    return Prepared.open(prepare_data(*job(*overrides), workers=workers)["faces"])


def originals(split):
    params = {"size": 32, "frames": 3, "targets": ["valence"], "subjects": {"train": 16, "dev": 3}, "per_subject": 2}
    faces = load_plugins().get("dataset", "procedural").build(params, BuildContext(seed=0))
    return [sample for part in faces.parts(split) for sample in faces.samples(split, part)]


def digests(data):
    return {shard.name: shard.sha256 for split in data.info.splits.values() for shard in split.shards}


def test_stored_samples_have_coded_frames_clean_frames_and_bit_rate(job):
    data = prepared(job)
    store = Store.open(data, "dev")
    taken, whole = store.take(np.arange(6)), originals("dev")
    coded = [transcode(sample.frames, Settings("h264", crf=33, preset="medium")) for sample in whole]
    assert np.array_equal(taken.frames.permute(0, 1, 3, 4, 2), [clip.frames_THWC for clip in coded])
    assert np.array_equal(taken.clean.permute(0, 1, 3, 4, 2), [sample.frames for sample in whole])
    assert [meta["kbps"] for meta in store.metadata(np.arange(6)).meta] == [clip.kbps for clip in coded]
    (once,) = data.info.degrade_once
    assert (once["use"], once["params"]["crf"], once["params"]["gop"]) == ("codec/h264", 33, 50)


def test_draws_do_not_depend_on_processes_and_an_interrupted_step_continues(job):
    mixture = f"{CODEC}=[{{use: mjpeg, crf: [2, 31], drop: 0.2}}]"
    data = prepared(job, mixture)
    before = digests(data)
    assert len(before) == 3  # two parts and one
    rates = [meta["kbps"] for meta in Store.open(data, "train").metadata(np.arange(32)).meta]
    assert min(rates) * 2 < max(rates)
    kept = data.folder / "train" / "00000-000.tar"
    written = kept.stat().st_mtime_ns
    (data.folder / "dataset.json").unlink()
    (data.folder / "train" / "00001.json").unlink()  # as if it had been killed inside the second part
    assert digests(prepared(job, mixture)) == before
    assert kept.stat().st_mtime_ns == written
    for file in sorted(data.folder.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    assert digests(prepared(job, mixture, workers=2)) == before


def test_the_dataset_folder_depends_on_the_degradation(job):
    folders = [
        prepared(job, f"{CODEC}={value}").folder.name
        for value in ("[]", "[{use: h264, crf: 33}]", "[{use: h264, crf: 34}]", "[{use: hevc, crf: 33}]")
    ]
    assert len(set(folders)) == 4
    named, short = ("[{use: codec/h264, crf: 33, gop: 50}]", "[{use: h264, crf: 33}]")
    assert prepared(job, f"{CODEC}={named}").folder == prepared(job, f"{CODEC}={short}").folder


def test_evaluation_reports_the_stored_bit_rate(job):
    read, catalog = job()
    run = run_job(read, catalog, runner="local", fresh=False, command="", profile=None).parent
    table = read_predictions(run / "predictions.parquet").to_pylist()
    rate = {
        sample.key: transcode(sample.frames, Settings("h264", crf=33, preset="medium")).kbps
        for sample in originals("dev")
    }
    assert [row["kbps"] for row in table] == [rate[row["sample"]] for row in table]
    assert len(table) == 12
    again, _ = read_job(run / "job.yaml")
    assert dump_job(again) == dump_job(read)


def test_stored_clean_frames_get_the_augmentation_of_the_degraded_frames(job):
    from blear.train.preprocessing import Preprocessing

    data = prepared(job)
    (raw,) = sequential_batches(Store.open(data, "dev"), 6)
    flip = load_plugins().get("degradation", "random_flip").build({}, BuildContext(clip=data.clip))
    batch = Preprocessing(Chain([flip], 5), Chain([], 5, 1), torch.device("cpu"))(raw)
    flipped_B = torch.tensor(
        [not torch.equal(a, b) for a, b in zip(batch.clean_BTCHW, raw.clean_BTCHW / 255, strict=True)]
    )
    assert 0 < int(flipped_B.sum()) < 6
    for frames, stored in ((batch.frames_BTCHW, raw.frames_BTCHW), (batch.clean_BTCHW, raw.clean_BTCHW)):
        expected = torch.where(flipped_B[:, None, None, None, None], stored.flip(-1), stored)
        assert torch.equal(frames, expected.float().div(255))


def test_clips_of_variable_length_and_float_frames():
    chain = Chain([build("h264", crf=30)], 0)
    clips = [face(32)[:length] for length in (2, 2, 3)]
    varied = list(
        degrade_samples(
            lambda _: chain, [Sample(f"k{n}", clip, {}) for n, clip in enumerate(clips)], "train", varied=True
        )
    )
    settings = Settings("h264", crf=30, preset="medium")
    for sample, clip in zip(varied, clips, strict=True):
        assert sample.clean is None
        assert np.array_equal(sample.frames, transcode(clip, settings).frames_THWC)
    own = np.zeros((1, 4, 4, 3), np.uint8)
    floats = Sample("k", clips[0].astype(np.float32) / 255, {}, own, meta={"face_px": 9})
    (done,) = degrade_samples(lambda _: chain, [floats], "train", varied=False)
    assert done.frames.dtype == np.float32
    assert np.array_equal((done.frames * 255).round(), transcode(clips[0], settings).frames_THWC)
    assert done.clean is own
    assert done.meta == {"face_px": 9, "kbps": transcode(clips[0], settings).kbps}


def test_each_frame_of_a_short_clip_has_its_own_draw():
    class Faces:
        clip = ClipSpec(3, 3, 32, 32, shortest=1)

    catalog = load_plugins()
    entries = parse_entries([{"use": "gaussian_noise", "per": "frame"}])
    chain_of = build_offline_chain(catalog, entries, 0, Faces())
    samples = [Sample("k", face(32)[:length], {}) for length in (3, 2, 1)]
    done = [sample.frames for sample in degrade_samples(chain_of, samples, "train", varied=True)]
    assert [len(frames) for frames in done] == [3, 2, 1]
    for frames in done[1:]:
        np.testing.assert_array_equal(frames, done[0][: len(frames)])


def test_a_degradation_without_a_codec_has_no_bit_rate():
    half = load_plugins().get("degradation", "downscale").build({"factor": 2}, BuildContext())
    (done,) = degrade_samples(lambda _: Chain([half], 0), [Sample("k", face(32)[:1], {})], "train", varied=False)
    frames = torch.from_numpy(face(32)[:1]).permute(0, 3, 1, 2)[None] / 255
    expected = half.apply(frames, half.draw(keys(1)))[0].clamp(0, 1).mul(255).round().byte()
    assert np.array_equal(done.frames, expected.permute(0, 2, 3, 1))
    assert done.meta == {}


def test_impossible_jobs_are_rejected_with_their_place(job, tmp_path):
    with pytest.raises(JobError, match=r"data.faces.degrade_once.0.crf: .*0..51, not 99|crf of H.264 lies in 0..51"):
        job(f"{CODEC}=[{{use: h264, crf: 99}}]")
    with pytest.raises(JobError, match="there is no degradation 'h26'"):
        job(f"{CODEC}=[{{use: h26}}]")
    with pytest.raises(JobError, match="random_crop changes the size of clips"):
        job(f"{CODEC}=[{{use: random_crop, size: 8}}]")
    folder = prepared(job).folder
    with pytest.raises(JobError, match="degrade_once is applied when shards are written"):
        job(f"data.faces.shards={folder}")
