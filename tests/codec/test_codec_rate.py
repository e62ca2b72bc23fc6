"""Bit rates of clips in evaluation; downscaling before the encoder and upscaling after the decoder."""

from functools import partial

import numpy as np
import pytest
import torch
from codec_clips import VIDEO, face, psnr
from test_codec_plugin import batch, build, keys

from blear.contracts import BuildContext, Coding
from blear.degradation.chain import Chain
from blear.evaluate.frames_cache import DegradedFramesCache
from blear.evaluate.predictions import read_predictions
from blear.imaging import resize_bicubic
from blear.job.reader import read_job
from blear.pipeline.run import run_job
from blear_codec.codecs import CODECS, Settings
from blear_codec.jpeg import jpeg_roundtrip
from blear_codec.resize import encoder_side
from blear_codec.transcode import transcode


def settings(name, crf, **changes):
    return Settings(name, crf=crf, preset=next(iter(CODECS[name].presets), ""), **changes)


def pixels(frames_BTCHW):
    """uint8 [B, T, H, W, C]."""
    return (frames_BTCHW * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()


@pytest.mark.parametrize("name", VIDEO)
def test_bit_rate_of_a_clip_counts_its_own_packets(name):
    low, high = CODECS[name].levels[::6]
    operation, frames = build(name, crf=[low, high], fps=30), batch(4)
    assert isinstance(operation, Coding)
    draws = operation.draw(keys(4))
    out, kbps_B = operation.apply_coded(frames, draws)
    assert torch.equal(out, operation.apply(frames, draws))
    expected = [
        transcode(clip, settings(name, round(crf), fps=30)).bits * 30 / 3 / 1000
        for clip, crf in zip(pixels(frames), draws["strength"].tolist(), strict=True)
    ]
    assert kbps_B.tolist() == pytest.approx(expected)
    assert len(set(draws["strength"].tolist())) == 2


def test_bit_rate_of_a_still_is_that_of_its_short_clip():
    still = batch(1, length=1)
    operation = build("h264", repeat=5)
    _, kbps_B = operation.apply_coded(still, operation.draw(keys(1)))
    clip = pixels(still)[0].repeat(5, axis=0)
    assert kbps_B.tolist() == [transcode(clip, settings("h264", CODECS["h264"].default_crf)).kbps]


def test_bit_rate_of_jpeg_files():
    frames, operation = batch(2), build("jpeg", quality=30, fps=10)
    out, kbps_B = operation.apply_coded(frames, operation.draw(keys(2)))
    files = [[jpeg_roundtrip(frame, 30) for frame in clip] for clip in pixels(frames)]
    assert kbps_B.tolist() == pytest.approx([sum(file.bits for file in clip) * 10 / 3 / 1000 for clip in files])
    assert np.array_equal(pixels(out), [[file.picture_HWC for file in clip] for clip in files])


def test_encoder_sides_are_even():
    assert [encoder_side(96, shrink) for shrink in (1, 2, 3, 4, 6, 64)] == [96, 48, 32, 24, 16, 2]
    assert [encoder_side(48, shrink) for shrink in (1.5, 2.4, 48 / 17, 48 / 19)] == [32, 20, 18, 20]
    assert [encoder_side(33, shrink) for shrink in (1, 2)] == [33, 16]


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("color", ["rgb", "luma"])
def test_shrink_equals_bicubic_resizing_around_the_codec(name, color):
    clip = face(48, 3, color)
    small = np.stack([resize_bicubic(frame.astype(np.float32), 16, 16) for frame in clip]).clip(0, 255).round()
    inner = transcode(small.astype(np.uint8), settings(name, CODECS[name].default_crf))
    outer = transcode(clip, settings(name, CODECS[name].default_crf, shrink=3))
    assert outer.bits == inner.bits
    large = [resize_bicubic(frame.astype(np.float32), 48, 48) for frame in inner.frames_THWC]
    assert np.array_equal(outer.frames_THWC, np.stack(large).clip(0, 255).round())
    assert outer.bits < transcode(clip, settings(name, CODECS[name].default_crf)).bits


def test_at_a_very_low_bit_rate_a_small_video_has_higher_psnr():
    """At the worst quality of the full size, half the size needs fewer bits and has a higher PSNR."""
    clip = face(96, 6)
    large, small = transcode(clip, settings("h264", 51)), transcode(clip, settings("h264", 42, shrink=2))
    assert small.bits < large.bits
    assert psnr(clip, small.frames_THWC) > psnr(clip, large.frames_THWC) + 0.5


def test_shrink_is_drawn_per_clip_without_changing_other_draws():
    operation, plain = build("h264", crf=[20, 40], shrink={1: 1, 2: 1, 4: 0}), build("h264", crf=[20, 40])
    draws, before = operation.draw(keys(60)), plain.draw(keys(60))
    assert sorted(set(draws["shrink"].tolist())) == [1, 2]
    assert torch.equal(draws["strength"], before["strength"])
    assert torch.equal(draws["key"], before["key"])
    assert 0 < np.corrcoef(draws["strength"], draws["shrink"])[0, 1] ** 2 < 0.2
    frames = batch(4)
    out, kbps_B = operation.apply_coded(frames, operation.draw(keys(4)))
    alone = [operation.apply_coded(frames[k : k + 1], operation.draw(keys(1, first=k))) for k in range(4)]
    assert torch.equal(out, torch.cat([clip for clip, _ in alone]))
    assert kbps_B.tolist() == [kbps_B[0] for _, kbps_B in alone]


class Halved:
    """A degradation without a bit rate."""

    def draw(self, keys):
        return {}

    def apply(self, frames_BTCHW, draws):
        return frames_BTCHW / 2

    def levels(self):
        return []


def test_a_chain_reports_the_bit_rate_of_its_last_codec():
    frames, ids, epochs = batch(2), np.arange(2), np.zeros(2, np.int64)
    first, last = build("h264", crf=20), build("mjpeg", crf=10)
    out, kbps_B = Chain([first, Halved(), last, Halved()], 3).coded(frames, epochs, ids)
    inner, _ = first.apply_coded(frames, first.draw(keys(2)))
    expected, rate_B = last.apply_coded(inner / 2, last.draw(keys(2)))
    assert torch.equal(out, expected / 2)
    assert kbps_B.tolist() == rate_B.tolist()
    assert np.isnan(Chain([Halved()], 3).coded(frames, epochs, ids)[1]).all()
    assert torch.equal(Chain([first], 3)(frames, epochs, ids), inner)


JOB = """\
name: rates
data:
  faces: {use: faces/procedural, size: 48, frames: 3, targets: [valence], subjects: {train: 1, dev: 3}, per_subject: 2}
stages:
  only:
    data: faces
    backbone: {use: vlqr/cnn5x5, width: 0.0625}
    head: {use: vlqr/valence}
    optimizer: {use: sgd, lr: 0.001}
    steps: 1
    batch_size: 2
evaluate:
  sweep: {use: h264, shrink: 2, over: {crf: [20, 40]}}
  arms: {only: {stage: only}, again: {stage: only}, unseen: {stage: only, clean: true}}
  resamples: 20
"""


def test_evaluation_writes_the_bit_rate_of_each_clip(storage, tmp_path):
    file = tmp_path / "rates.yaml"
    file.write_text(JOB)
    job, catalog = read_job(file)
    run = run_job(job, catalog, runner="local", fresh=False, command="", profile=None).parent
    table = read_predictions(run / "predictions.parquet").to_pylist()
    faces = catalog.get("dataset", "procedural").build(job.data["faces"].params, BuildContext(seed=job.seed))
    stored = [sample for part in faces.parts("dev") for sample in faces.samples("dev", part)]
    expected = {
        (sample.key, crf): transcode(sample.frames, settings("h264", crf, shrink=2)).kbps
        for sample in stored
        for crf in (20, 40)
    }
    arms = {arm: [row | {"arm": ""} for row in table if row["arm"] == arm] for arm in ("only", "again", "unseen")}
    assert {(row["sample"], row["severity"]): row["kbps"] for row in arms["only"]} == pytest.approx(expected)
    assert len(arms["only"]) == 12
    assert arms["again"] == arms["only"]  # its clips were not encoded again
    assert [row["kbps"] for row in arms["unseen"]] == [None] * 12
    assert [row["prediction"] for row in arms["unseen"]] != [row["prediction"] for row in arms["only"]]


def test_memoised_clips_are_bit_equal_within_the_memory_budget():
    coded = torch.arange(256).float().div(255)[None]
    finer, rates = coded + 1e-6, np.array([7.0])
    made = []

    def make(frames):
        made.append(frames)
        return frames, rates

    memo = DegradedFramesCache(budget=256 + 256 * 4)
    for key, frames in (("coded", coded), ("finer", finer), ("beyond", coded)):
        for _ in range(2):
            found, kbps_B = memo(key, partial(make, frames))
            assert torch.equal(found, frames)
            assert kbps_B is rates
    assert len(made) == 4  # the third exceeds the memory budget
    assert memo.left == 0
