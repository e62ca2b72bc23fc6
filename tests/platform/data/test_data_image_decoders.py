"""kornia-rs decodes the images that OpenCV decodes, to the same pixels, and refuses the same damage."""

import io
import random
import struct
import zlib

import cv2
import numpy as np
import pytest
from fuzzing import mutated
from PIL import Image

from blear.data.shard.image_decoders import decode_image, fast_decoder
from blear.data.shard.image_header import read_image_header

SIDES = (1, 2, 7, 8, 9, 16, 17, 33, 48, 97)


def random_image(rng, channels):
    """A smooth image with noise, of random size."""
    height, width = (int(side) for side in rng.choice(SIDES, 2))
    rough = rng.integers(0, 256, (max(2, height // 6), max(2, width // 6), 3), dtype=np.uint8)
    smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC).astype(int)
    picture = (smooth + rng.integers(-9, 10, smooth.shape)).clip(0, 255).astype(np.uint8)
    return picture if channels == 3 else picture[..., 0].copy()


def encoded(rng, kind, channels):
    """An image that Pillow encodes with random options."""
    options = {"optimize": bool(rng.random() < 0.5)}
    if kind == "jpeg":
        options |= {"quality": int(rng.choice((1, 50, 75, 95, 100))), "progressive": bool(rng.random() < 0.3)}
        options |= {"subsampling": str(rng.choice(("4:4:4", "4:2:2", "4:2:0", "4:1:1")))} if channels == 3 else {}
        options |= {"restart_marker_blocks": 2} if rng.random() < 0.2 else {}
    else:
        options |= {"compress_level": int(rng.integers(10))}
    stream = io.BytesIO()
    Image.fromarray(random_image(rng, channels)).save(stream, kind, **options)
    return stream.getvalue()


def opencv(data, channels):
    """Decodes with OpenCV alone: [rows, width, channels], or None."""
    if not data:
        return None
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION if channels == 3 else cv2.IMREAD_UNCHANGED
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return picture[..., None] if picture is not None and picture.ndim == 2 else picture


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_kornia_rs_decodes_to_the_pixels_of_opencv(kind, channels):
    rng = np.random.default_rng(channels)
    for _ in range(300):
        data = encoded(rng, kind, channels)
        assert np.array_equal(fast_decoder(read_image_header(data))(data), opencv(data, channels))


def declares_over(limit, data):
    """Whether a chunk of a PNG declares more bytes than the limit; OpenCV allocates them, in seconds."""
    offset, found = 8, False
    while data[:4] == b"\x89PNG" and offset + 8 <= len(data) and not found:
        size = int.from_bytes(data[offset : offset + 4], "big")
        offset, found = offset + 12 + size, size > limit
    return found


def test_a_png_chunk_that_declares_gigabytes_is_refused_before_it_is_allocated(monkeypatch):
    data = bytearray(encoded(np.random.default_rng(0), "png", 1))
    data[33:37] = b"\xc3\xdd\0\x18"  # of IDAT: 3.3 GB
    header = read_image_header(bytes(data))
    monkeypatch.setattr("cv2.imdecode", lambda *_: pytest.fail("OpenCV allocates what the chunk declares"))
    assert decode_image(np.frombuffer(data, np.uint8), header) is None


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_damage_is_refused_as_opencv_refuses_it(kind, channels):
    """Truncation, noise and insertions anywhere, and changes of the last bytes."""
    rng, draws = np.random.default_rng(channels), random.Random(channels)
    refused = 0
    for _ in range(400):
        whole = encoded(rng, kind, channels)
        end = bytearray(whole)
        end[-draws.randrange(1, 17)] ^= 1 << draws.randrange(8)
        cut = whole[: -draws.randrange(1, 40)]
        for data in (mutated(draws, whole), mutated(draws, whole[:-12]) + whole[-12:], bytes(end), cut):
            header = read_image_header(data)
            if header is None or header.channels != channels or header.width * header.height > 10**6:
                continue
            if declares_over(1 << 24, data):
                continue
            found, truth = decode_image(np.frombuffer(data, np.uint8), header), opencv(data, channels)
            assert (found is None) == (truth is None), data
            assert found is None or np.array_equal(found, truth), data
            refused += found is None
    assert refused > 400


def test_a_png_with_a_wrong_adler_checksum_is_accepted():
    """The CRC of each chunk covers every byte, so a wrong Adler checksum under right CRCs is no damage."""
    picture = np.arange(80, dtype=np.uint8).reshape(8, 10)
    rows = zlib.compress(b"".join(b"\0" + row.tobytes() for row in picture))
    header = struct.pack(">IIBBBBB", 10, 8, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows[:-1] + b"\0") + chunk(b"IEND", b"")
    assert opencv(data, 1) is None
    assert np.array_equal(decode_image(np.frombuffer(data, np.uint8), read_image_header(data))[..., 0], picture)
