"""Super-resolution patches: published counts, published degradation, invalid inputs."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from blear.contracts import BuildContext, ClipSpec, Dataset
from blear.errors import DataError
from blear_vlqr.params import T91Params
from blear_vlqr.t91 import T91, grid


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for name, height, width in (("a.png", 75, 100), ("b c.bmp", 64, 49)):
        coarse = rng.integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "more").mkdir()
    return tmp_path


def build(source, **params):
    return T91(T91Params(source=source, **params), BuildContext())


def read(dataset, split="train"):
    return [s for part in dataset.parts(split) for s in dataset.samples(split, part)]


PUBLISHED = {3: 22042, 4: 22051, 6: 21870, 8: 21675, 12: 21332, 16: 20928}


def test_counts_of_the_published_training_set(real_data):
    sizes = []
    for path in sorted((real_data / "sr" / "t91").glob("*.png")):
        with Image.open(path) as image:
            sizes.append(image.size)
    assert len(sizes) == 91
    counts = {s: sum(len(grid(h - h % s, w - w % s, 32, 14)) for w, h in sizes) for s in PUBLISHED}
    assert counts == PUBLISHED


def test_reads_set5_whole(real_data):
    dataset = build(real_data / "sr" / "t91", test=real_data / "sr" / "set5")
    assert dataset.splits == ("train", "dev")
    assert len(dataset.parts("train")) == 91
    samples = read(dataset, "dev")
    assert len(samples) == 1218
    assert len({s.key for s in samples}) == 1218
    assert min(s.clean.min() for s in samples) >= 16
    assert max(s.clean.max() for s in samples) <= 235


def test_patches_are_cropped_from_degraded_whole_pictures(pictures):
    dataset = build(pictures, factor=12)
    assert isinstance(dataset, Dataset)
    assert dataset.clip == ClipSpec(1, 1, 32, 32)
    assert dataset.parts("train") == ("a", "b_c")
    samples = list(dataset.samples("train", "a"))
    # 75x100 -> 72x96: rows 0, 14, 28 and columns 0, 14, 28, 42, 56
    assert [s.key for s in samples] == [f"a/{r:04d}-{c:04d}" for r in (0, 14, 28) for c in (0, 14, 28, 42, 56)]
    assert all(re.fullmatch(r"[A-Za-z0-9_/-]+", s.key) for s in read(dataset))

    rgb = np.asarray(Image.open(pictures / "a.png"), dtype=np.float64)[:72, :96]
    luma = np.floor(16 + rgb @ np.array([65.481, 128.553, 24.966]) / 255 + 0.5)
    x = torch.from_numpy((luma / 255).astype(np.float32))[None, None]
    for size in ((6, 8), (72, 96)):
        x = torch.nn.functional.interpolate(x, size, mode="bicubic", antialias=True)
    low = x[0, 0].numpy()
    for sample in samples:
        top, left = (int(n) for n in sample.key.split("/")[1].split("-"))
        assert (sample.frames.dtype, sample.clean.dtype) == (np.float32, np.uint8)
        np.testing.assert_allclose(sample.frames[0, ..., 0], low[top : top + 32, left : left + 32], atol=1e-6)
        np.testing.assert_array_equal(
            sample.clean, luma[None, top + 8 : top + 24, left + 8 : left + 24, None].astype(np.uint8)
        )
        assert sample.targets == {}


def test_factor_1_gives_clean_patches(pictures):
    clean, low = read(build(pictures, factor=1, stride=100)), read(build(pictures, factor=5, stride=100))
    assert [s.clean is None for s in clean] == [True, True]
    assert [s.frames.dtype for s in clean] == [np.uint8] * 2
    for a, b in zip(clean, low, strict=True):
        np.testing.assert_array_equal(a.frames[:, 8:24, 8:24], b.clean)


def test_test_pictures_have_their_own_stride(pictures):
    dataset = build(pictures, test=pictures, factor=1)
    assert len(list(dataset.samples("dev", "a"))) == 3 * 4
    assert len(list(dataset.samples("train", "a"))) == 4 * 5
    assert build(pictures).splits == ("train",)


def refusal(action, *words):
    with pytest.raises(DataError) as caught:
        action()
    for word in words:
        assert str(word) in str(caught.value)
    assert caught.value.do


def test_invalid_inputs_are_rejected(pictures, tmp_path):
    refusal(lambda: build(tmp_path / "nowhere"), "nowhere", "no such folder")
    refusal(lambda: build(pictures / "more"), "more", "holds no picture")
    refusal(lambda: build(pictures, test=pictures / "more"), "more", "holds no picture")
    refusal(lambda: read(build(pictures, factor=50)), "b c.bmp", "0x50 pixels hold no patch")


@pytest.mark.parametrize("name", ["a.png", "b c.bmp"])
def test_truncated_picture(pictures, name):
    data = (pictures / name).read_bytes()
    (pictures / name).write_bytes(data[: len(data) // 2])
    refusal(lambda: read(build(pictures)), name, "cannot be read")
    (pictures / name).write_bytes(b"no picture")
    refusal(lambda: read(build(pictures)), name, "cannot be read")


def test_two_pictures_of_one_key(pictures):
    Image.new("RGB", (40, 40)).save(pictures / "a.bmp")
    refusal(lambda: build(pictures), "a.png", "same key as a.bmp")


@pytest.mark.parametrize("params", [{"patch": 32, "target": 15}, {"patch": 16, "target": 18}, {"factor": 0}])
def test_invalid_params_are_rejected(params):
    with pytest.raises(ValidationError):
        T91Params(source="x", **params)
