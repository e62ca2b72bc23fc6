"""Codec degradations: draws, batches, stills, invalid parameters, validation of jobs."""

import importlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from codec_clips import VIDEO, face
from pydantic import ValidationError

import blear_codec
from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear.errors import DataError, PluginError
from blear.plugin.discovery import load_plugins
from blear_codec import codecs
from blear_codec.codecs import CODECS, Settings
from blear_codec.cpu_batches import map_clips
from blear_codec.jpeg import jpeg_roundtrip
from blear_codec.transcode import transcode

COMPONENTS = {component.name: component for component in blear_codec.register_degradations()}
CONTEXT = BuildContext(clip=ClipSpec(3, 3, 32, 32))


def build(name, **params):
    component = COMPONENTS[name]
    module, attribute = component.build.split(":")
    return getattr(importlib.import_module(module), attribute)(component.params(**params), CONTEXT)


def keys(count, epoch=0, first=0):
    return DrawKeys(3, 1, np.full(count, epoch), np.arange(first, first + count))


def batch(count, length=3, size=32, color="rgb"):
    """Returns different clips, float32 [B, T, C, H, W]."""
    whole = face(size, 6, color)
    shifted = [np.roll(whole[:length], 3 * number, axis=2) for number in range(count)]
    return torch.from_numpy(np.stack(shifted)).permute(0, 1, 4, 2, 3).float() / 255


def test_registered_components_and_examples():
    assert list(COMPONENTS) == [*VIDEO, "jpeg"]
    assert list(load_plugins().components["degradation"]).count("codec/h264") == 1
    for name, component in COMPONENTS.items():
        assert all(field.description for field in component.params.model_fields.values())
        for example in component.examples:
            built = build(name, **example)
            assert isinstance(built, Degradation)
            frames = batch(1)
            assert built.apply(frames, built.draw(keys(1))).shape == frames.shape


def test_registering_imports_no_torch():
    code_ = "import sys, blear_codec as p; p.register_degradations(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code_], check=False).returncode == 0


@pytest.mark.parametrize("name", [*VIDEO, "jpeg"])
def test_a_batch_equals_its_single_clips_and_differs_between_epochs(name):
    low, high = (10, 90) if name == "jpeg" else CODECS[name].levels[::6]
    mixture = {"quality": [low, high]} if name == "jpeg" else {"crf": [low, high], "drop": 0.3, "loss": 0.2}
    operation, frames = build(name, **mixture), batch(4)
    out = operation.apply(frames, operation.draw(keys(4)))
    alone = [operation.apply(frames[k : k + 1], operation.draw(keys(1, first=k))) for k in range(4)]
    assert torch.equal(out, torch.cat(alone))
    assert torch.equal(out, operation.apply(frames, operation.draw(keys(4))))
    assert not torch.equal(out, operation.apply(frames, operation.draw(keys(4, epoch=1))))
    assert out.dtype == torch.float32
    assert out.min() >= 0
    assert out.max() <= 1


def test_draws():
    operation = build("h264", crf={20: 1, 30: 3, 40: 0})
    drawn = operation.draw(keys(20_000))
    assert sorted(set(drawn["strength"].tolist())) == [20, 30]
    assert (drawn["strength"] == 30).double().mean().item() == pytest.approx(0.75, abs=0.01)
    assert len(drawn["key"].unique()) == 20_000
    again = build("h264", crf=[20, 30], frozen=True)
    assert torch.equal(again.draw(keys(50))["strength"], again.draw(keys(50, epoch=7))["strength"])
    assert build("vp9").draw(keys(2))["strength"].tolist() == [44, 44]
    assert build("jpeg", quality=7).draw(keys(2))["quality"].tolist() == [7, 7]


@pytest.mark.parametrize("name", ["h264", "mjpeg"])
def test_apply_equals_transcode(name):
    clip = face(32)[:3]
    chosen = Settings(name, crf=CODECS[name].levels[4], preset=next(iter(CODECS[name].presets), ""))
    operation, frames = build(name, crf=chosen.crf), torch.from_numpy(clip).permute(0, 3, 1, 2)[None] / 255
    out = operation.apply(frames, operation.draw(keys(1)))
    expected = torch.from_numpy(transcode(clip, chosen).frames_THWC).permute(0, 3, 1, 2)
    assert torch.equal((out[0] * 255).round().byte(), expected)


def test_a_still_is_the_last_frame_of_a_clip_of_equal_frames():
    still = face(32)[:1]
    operation, frames = build("h264", repeat=5), torch.from_numpy(still).permute(0, 3, 1, 2)[None] / 255
    out = operation.apply(frames, operation.draw(keys(1)))
    chosen = Settings("h264", crf=CODECS["h264"].default_crf, preset="medium")
    expected = transcode(still.repeat(5, axis=0), chosen).frames_THWC[-1]
    assert torch.equal((out[0, 0] * 255).round().byte(), torch.from_numpy(expected).permute(2, 0, 1))


def test_every_frame_dropped_leaves_the_first_and_every_packet_lost_leaves_black():
    frames = batch(2)
    for name in VIDEO:
        dropped, lost = build(name, drop=1), build(name, loss=1)
        out = dropped.apply(frames, dropped.draw(keys(2)))
        assert torch.equal(out, out[:, :1].expand_as(out))
        assert not lost.apply(frames, lost.draw(keys(2))).any()
        same, none = build(name), build(name, drop=0, loss=0)
        assert torch.equal(same.apply(frames, same.draw(keys(2))), none.apply(frames, none.draw(keys(2))))


def test_drop_probability():
    """Motion JPEG repeats the previous frame exactly for a dropped frame; all frames of this clip differ."""
    frames, operation = batch(40, length=6), build("mjpeg", drop=0.25)
    out = operation.apply(frames, operation.draw(keys(40)))
    held = [torch.equal(clip[t], clip[t - 1]) for clip in out for t in range(1, 6)]
    assert np.mean(held) == pytest.approx(0.25, abs=0.1)


def test_types_ranges_and_grey():
    operation = build("h264")
    grey = batch(2, color="luma")
    assert grey.shape[2] == 1
    assert operation.apply(grey, operation.draw(keys(2))).shape == grey.shape
    half = batch(2).bfloat16()
    assert operation.apply(half, operation.draw(keys(2))).dtype == torch.bfloat16
    beyond = batch(2) * 3 - 1
    out = operation.apply(beyond, operation.draw(keys(2)))
    assert torch.equal(out, operation.apply(beyond.clamp(0, 1), operation.draw(keys(2))))
    assert operation.apply(batch(2)[:0], operation.draw(keys(0))).shape == (0, 3, 3, 32, 32)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_frames_with_nan_or_infinity_are_rejected(value):
    frames, operation = batch(2), build("h264")
    frames[1, 0, 0, 3, 4] = value
    with pytest.raises(DataError, match="codec/h264: frames hold values that are not finite"):
        operation.apply(frames, operation.draw(keys(2)))


def test_frames_of_two_channels_are_rejected():
    with pytest.raises(PluginError, match="codec/h264: codes grey or RGB frames, not 2 channels"):
        map_clips(torch.zeros(1, 1, 2, 8, 8), lambda _, clip: (clip, 0.0), "codec/h264")
    for name in ("h264", "jpeg"):  # detected when the stage is built, before training
        module, attribute = COMPONENTS[name].build.split(":")
        with pytest.raises(PluginError, match=f"codec/{name}: codes grey or RGB frames, not 4 channels"):
            getattr(importlib.import_module(module), attribute)(
                COMPONENTS[name].params(), BuildContext(clip=ClipSpec(3, 4, 32, 32))
            )


def test_order_of_clips_and_8_bit_rounding():
    frames = torch.rand(5, 2, 3, 4, 6, generator=torch.Generator().manual_seed(1))

    def change(number, clip):
        return np.full_like(clip, number) if number else clip, 10.0 * number

    out, kbps_B = map_clips(frames, change, "x")
    assert kbps_B.tolist() == [0, 10, 20, 30, 40]
    torch.testing.assert_close(out[0], (frames[0] * 255).round() / 255, atol=0, rtol=0)
    assert [clip.unique().mul(255).round().tolist() for clip in out[1:]] == [[1], [2], [3], [4]]


def test_levels_are_parameters_mildest_first():
    for name in VIDEO:
        levels = build(name).levels()
        assert [set(level) for level in levels] == [{"crf"}] * 7
        assert all(COMPONENTS[name].params(**level) for level in levels)
        values = [level["crf"] for level in levels]
        assert values == sorted(values)
        if CODECS[name].qp is not None:
            assert [level["qp"] for level in build(name, qp=30).levels()] == list(CODECS[name].qp_levels)
        rates = [level["kbps"] for level in build(name, kbps=60).levels()]
        assert rates == sorted(rates, reverse=True)
    qualities = [level["quality"] for level in build("jpeg").levels()]
    assert qualities == sorted(qualities, reverse=True)


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("h264", {"crf": 52}, r"crf of H.264 lies in 0..51, not 52"),
        ("mpeg4", {"crf": [2, 0, 40]}, r"crf of MPEG-4 Part 2 lies in 1..31, not 0, 40"),
        ("av1", {"crf": 64}, r"crf of AV1 lies in 1..63, not 64"),
        ("hevc", {"crf": 20, "kbps": 100}, "crf and kbps exclude each other"),
        ("hevc", {"crf": 20, "qp": 22}, "crf and qp exclude each other"),
        ("h264", {"qp": [22, 52]}, r"qp of H.264 lies in 0..51, not 52"),
        ("mjpeg", {"qp": 4}, "crf is the quantiser of Motion JPEG; give crf instead of qp"),
        ("vp9", {"kbps": 0.9}, "greater than or equal to 1"),
        ("av1", {"kbps": [50, 100_001]}, "less than or equal to 100000"),
        ("h264", {"shrink": 0.5}, "greater than or equal to 1"),
        ("h264", {"shrink": [2, 65]}, "less than or equal to 64"),
        ("h264", {"shrink": [2, 2]}, "a value is listed twice"),
        ("jpeg", {"fps": 0}, "greater than or equal to 1"),
        ("h264", {"preset": "warp"}, r"H.264 has no preset 'warp'; known: fast, faster"),
        ("vp9", {"preset": "9"}, "VP9 has no preset '9'"),
        ("mjpeg", {"preset": "fast"}, "Extra inputs are not permitted"),
        ("h264", {"gop": 0}, "greater than or equal to 1"),
        ("h264", {"drop": 1.5}, "less than or equal to 1"),
        ("h264", {"loss": -0.1}, "greater than or equal to 0"),
        ("h264", {"repeat": 0}, "greater than or equal to 1"),
        ("h264", {"crf": []}, "at least one value"),
        ("h264", {"crf": {20: 0}}, "the weights are all 0"),
        ("h264", {"crf": [20, 20]}, "a value is listed twice"),
        ("jpeg", {"quality": 0}, "greater than or equal to 1"),
        ("jpeg", {"quality": [50, 101]}, "less than or equal to 100"),
    ],
)
def test_wrong_parameters_are_rejected(name, params, message):
    with pytest.raises(ValidationError, match=message):
        COMPONENTS[name].params(**params)


def test_a_missing_encoder_is_rejected_with_the_parameters_and_when_built(monkeypatch):
    params = COMPONENTS["hevc"].params()
    monkeypatch.setitem(codecs.CODECS, "hevc", replace(CODECS["hevc"], encoder="libx266"))
    with pytest.raises(ValidationError, match="no encoder 'libx266' for HEVC"):
        COMPONENTS["hevc"].params()
    module, attribute = COMPONENTS["hevc"].build.split(":")
    with pytest.raises(PluginError, match=r"codec/hevc: .* no encoder 'libx266'"):
        getattr(importlib.import_module(module), attribute)(params, CONTEXT)


def test_jpeg_frames_are_independent():
    clip = face(32)[:3]
    operation, frames = build("jpeg", quality=30), torch.from_numpy(clip).permute(0, 3, 1, 2)[None] / 255
    out = (operation.apply(frames, operation.draw(keys(1)))[0] * 255).round().byte().permute(0, 2, 3, 1).numpy()
    assert all(
        np.array_equal(seen, jpeg_roundtrip(frame, 30).picture_HWC) for seen, frame in zip(out, clip, strict=True)
    )
