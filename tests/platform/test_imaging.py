"""The reader of picture files: orientation, bit depth, colour models, transparency; files that are no pictures."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blear.contracts import BuildContext
from blear.errors import DataError
from blear.imaging import Box, crop, picture_files, read_picture, studio_luma
from blear_vlqr.params import T91Params
from blear_vlqr.t91 import T91

RED, BLUE = (250, 10, 20), (10, 20, 250)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves() -> Image.Image:
    """64 x 32 pixels: red on the left, blue on the right."""
    image = Image.new("RGB", (64, 32), RED)
    image.paste(BLUE, (32, 0, 64, 32))
    return image


@pytest.mark.parametrize(
    ("orientation", "shape", "red"),
    [
        (1, (32, 64), "left"),
        (2, (32, 64), "right"),
        (3, (32, 64), "right"),
        (4, (32, 64), "left"),
        (5, (64, 32), "top"),
        (6, (64, 32), "top"),
        (7, (64, 32), "bottom"),
        (8, (64, 32), "bottom"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_pictures_are_upright(kind: str, orientation: int, shape: tuple[int, int], red: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(encoded(halves(), kind, exif=exif))
    assert picture.shape == (*shape, 3)
    corner = {"left": (16, 8), "right": (16, 56), "top": (8, 16), "bottom": (56, 16)}[red]
    np.testing.assert_allclose(picture[corner], RED, atol=6)


def test_damaged_exif_data_leave_the_picture_as_it_is() -> None:
    assert read_picture(encoded(halves(), "JPEG", exif=b"Exif\0\0no tiff at all")).shape == (32, 64, 3)


def test_16_bits_are_scaled() -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    grey = read_picture(encoded(Image.fromarray(values)), color="grey")
    assert grey.tolist() == [[0, 0, 1, 128, 255]]
    assert read_picture(encoded(Image.fromarray(values))).tolist() == [[[v] * 3 for v in (0, 0, 1, 128, 255)]]


def test_cmyk_palette_and_one_bit() -> None:
    cmyk = read_picture(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95))
    np.testing.assert_allclose(cmyk[8, 8], (255, 0, 0), atol=6)
    assert read_picture(encoded(halves().quantize(4)))[0, 63].tolist() == list(BLUE)
    bits = Image.fromarray(np.array([[True, False]]))
    assert read_picture(encoded(bits), color="grey").tolist() == [[255, 0]]


def test_transparency_is_blended_over_the_background() -> None:
    pixels = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [200, 100, 0, 51]]], np.uint8)
    image = encoded(Image.fromarray(pixels))
    assert read_picture(image).tolist() == [[[200, 100, 0], [0, 0, 0], [40, 20, 0]]]
    assert read_picture(image, background=255).tolist() == [[[200, 100, 0], [255, 255, 255], [244, 224, 204]]]
    palette = halves().quantize(2)
    first = palette.getpixel((0, 0))
    transparent = read_picture(encoded(palette, transparency=first), background=255)
    assert transparent[0, 0].tolist() == [255, 255, 255]
    assert transparent[0, 63].tolist() == list(BLUE)


def test_pixels_of_ordinary_pictures_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), pixels)


def test_missing_damaged_and_unscaled_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone.png: the picture is missing"):
        read_picture(tmp_path / "gone.png")
    with pytest.raises(DataError, match=r"list.txt:3: the picture .*gone.png is missing"):
        read_picture(tmp_path / "gone.png", "list.txt:3")
    whole = encoded(halves())
    for content in (b"\xff\xd8\xff\xe0 no picture", whole[: len(whole) // 2], b""):
        (tmp_path / "a.jpg").write_bytes(content)
        with pytest.raises(DataError, match=r"a.jpg: the picture cannot be read"):
            read_picture(tmp_path / "a.jpg")
    unknown = bytearray(encoded(halves(), "DDS"))
    unknown[80:84] = (9).to_bytes(4, "little")  # flags of the pixel format, for which Pillow raises another error
    with pytest.raises(DataError, match=r"row 1: the picture cannot be read: Unknown pixel format flags 9"):
        read_picture(bytes(unknown), "row 1")
    for array, words in ((np.full((2, 2), 0.5, np.float32), "range"), (np.full((2, 2), 70000, np.int32), "16 bits")):
        with pytest.raises(DataError, match=words):
            read_picture(encoded(Image.fromarray(array), "TIFF"), "row 1")


def test_hidden_files_are_no_pictures(tmp_path: Path) -> None:
    for name in ("b.PNG", "a.jpg", "._a.jpg", ".c.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "folder.png").mkdir()
    assert [path.name for path in picture_files(tmp_path)] == ["a.jpg", "b.PNG"]


def test_a_dataset_reads_turned_and_16_bit_pictures_beside_files_of_macos(tmp_path: Path) -> None:
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    exif = Image.Exif()
    exif[0x0112] = 6
    halves().save(tmp_path / "a.png", exif=exif)
    Image.fromarray(np.full((32, 32), 1000, np.uint16)).save(tmp_path / "deep.png")
    dataset = T91(T91Params(source=tmp_path, factor=1), BuildContext())
    turned, deep = ([*dataset.samples("train", part)] for part in dataset.parts("train"))
    assert [sample.key for sample in turned] == ["a/0000-0000", "a/0014-0000", "a/0028-0000"]
    red, grey = (int(studio_luma(np.full((1, 1, 3), colour, np.uint8))[0, 0]) for colour in (RED, 3))
    assert (turned[0].frames == red).all()
    assert (deep[0].frames == grey).all()


def test_a_box_with_wrong_coordinates_is_an_error_instead_of_terabytes() -> None:
    image, box = np.ones((10, 12, 3), np.uint8), Box(-1e6, -1e6, 2e6, 2e6)
    with pytest.raises(ValueError, match="more than 268,435,456 pixels; the image has 12x10"):
        crop(image, box)
    assert crop(image, box, pad="clip").shape == (10, 12, 3)
