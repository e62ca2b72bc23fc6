"""`ClipDecoder` returns the clips of `decode_sample`, and checks every header before it decodes."""

import io
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from blear.contracts import Sample
from blear.data.shard.clip_codec import BrokenClip
from blear.data.shard.clip_decoder import ClipDecoder
from blear.data.shard.image_header import read_image_header
from blear.data.shard.sample_codec import decode_sample, encode_sample

RNG = np.random.default_rng(0)
SMOOTH = cv2.resize(RNG.integers(0, 256, (6, 6, 3), dtype=np.uint8), (40, 48), interpolation=cv2.INTER_CUBIC)


def decode_member(member, data, shape, kind="uint8", frames=None, decoder=None):
    """The clip [T, H, W, C] as `ClipDecoder` decodes it."""
    length, height, width, channels = shape
    out = np.full((length, height, width, channels), 7, dtype=kind)
    decoder = decoder or ClipDecoder("frames", shape, kind, "the dataset's clip")
    decoder.decode_member(member, np.frombuffer(data, np.uint8), length if frames is None else frames, out)
    return out


def pillow(picture, kind="png", mode=None, **options):
    stream = io.BytesIO()
    image = Image.fromarray(picture)
    (image.convert(mode) if mode else image).save(stream, kind, **options)
    return stream.getvalue()


GREY = SMOOTH[..., 0].copy()
EXIF = Image.Exif()
EXIF[0x0112] = 6  # orientation: rotated by 90 degrees; ignored, pixels are read as stored


@pytest.mark.parametrize(
    ("member", "data", "channels"),
    [
        ("png", pillow(GREY), 1),
        ("png", pillow(SMOOTH), 3),
        ("png", pillow(GREY > 128), 1),  # one bit
        ("png", pillow(SMOOTH, mode="P"), 3),  # a palette
        ("png", pillow(SMOOTH, optimize=True), 3),
        ("jpg", pillow(GREY, "jpeg"), 1),
        ("jpg", pillow(SMOOTH, "jpeg"), 3),
        ("jpeg", pillow(SMOOTH, "jpeg", progressive=True, quality=60, subsampling=2), 3),
        ("jpg", pillow(SMOOTH, "jpeg", exif=EXIF), 3),
        ("jpg", pillow(SMOOTH, "jpeg", comment=b"\xff\xc0\x00\x11\x08\x00\x01\x00\x01\x01"), 3),
        ("jpg", pillow(SMOOTH, "jpeg", mode="CMYK"), 3),
        ("png", pillow(SMOOTH, "jpeg"), 3),  # the suffix is wrong; the content counts
    ],
)
def test_images_equal_those_of_decode_sample(member, data, channels):
    truth = decode_sample("a", {member: data, "json": b'{"targets": {}, "frames": 2}'}, "x.tar").frames
    assert truth.shape == (2, 24, 40, channels)
    decoder = ClipDecoder("frames", truth.shape, "uint8", "the dataset's clip")
    for _ in range(2):  # the second time, the header is known
        assert np.array_equal(decode_member(member, data, truth.shape, decoder=decoder), truth)


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_arrays_equal_those_of_decode_sample(kind, fortran, version):
    clip = RNG.integers(0, 256, (2, 5, 4, 3)).astype(kind)
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asfortranarray(clip) if fortran else clip, version=version)
    truth = decode_sample("a", {"npy": stream.getvalue(), "json": b'{"targets": {}}'}, "x.tar").frames
    assert np.array_equal(truth, clip)
    assert truth.dtype == kind
    assert np.array_equal(decode_member("npy", stream.getvalue(), clip.shape, kind), clip)


def test_images_of_several_formats_and_one_shape():
    decoder = ClipDecoder("frames", (1, 48, 40, 3), "uint8", "the dataset's clip")
    members = [("png", pillow(SMOOTH)), ("jpg", pillow(SMOOTH, "jpeg")), ("png", pillow(SMOOTH, mode="P"))] * 3
    for member, data in members:
        truth = decode_sample("a", {member: data, "json": b'{"targets": {}}'}, "x.tar").frames
        assert np.array_equal(decode_member(member, data, (1, 48, 40, 3), decoder=decoder), truth)


def npy(shape, kind="|u1", body=b""):
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


SIZE = "frames have shape {}, the dataset's clip says (2, 24, 40, 1) [T, H, W, C]"


@pytest.mark.parametrize(
    ("member", "data", "cause"),
    [
        ("png", pillow(GREY[:46]), SIZE.format("(2, 23, 40, 1)")),
        ("png", pillow(GREY[:47]), "the rows of the png member do not divide into its frames"),
        ("png", pillow(GREY[:, :39]), SIZE.format("(2, 24, 39, 1)")),
        ("png", pillow(SMOOTH), SIZE.format("(2, 24, 40, 3)")),
        ("jpg", pillow(SMOOTH, "jpeg"), SIZE.format("(2, 24, 40, 3)")),
        ("png", pillow(SMOOTH, mode="P"), SIZE.format("(2, 24, 40, 3)")),  # known after decoding
        ("png", pillow(SMOOTH, mode="RGBA"), "the png member is neither grey nor RGB of 8 bits"),
        ("png", pillow(SMOOTH, mode="LA"), "the png member is neither grey nor RGB of 8 bits"),
        ("png", pillow(GREY.astype(np.uint16)), "the png member is neither grey nor RGB of 8 bits"),
        ("png", pillow(GREY)[:-30], "the png member does not decode"),
        ("png", pillow(GREY)[:20], "the png member does not decode"),
        ("png", b"", "the png member does not decode"),
        ("png", b"\xff\xd8\xff", "the png member does not decode"),
        ("png", pillow(GREY, "bmp"), "the png member does not decode"),
        ("npy", npy((2, 24, 40, 1), body=bytes(1919)), "the npy member does not decode"),
        ("npy", npy((2**31, 2**31, 2**31, 1)), SIZE.format(f"({2**31}, {2**31}, {2**31}, 1)")),
        ("npy", npy((2, 24, 40, 1), "<f4", bytes(7680)), "frames are stored as float32, the dataset's clip says uint8"),
        ("npy", npy((2, 24, 40, 1), "|O"), "the npy member does not decode"),
        ("npy", npy((2, 24, 40)), "the npy member is not uint8 or float32 [T, H, W, C]"),
    ],
)
def test_an_undeclared_shape_or_type_is_refused_with_its_cause(member, data, cause):
    known = ClipDecoder("frames", (2, 24, 40, 1), "uint8", "the dataset's clip")
    decode_member("png", pillow(GREY), (2, 24, 40, 1), decoder=known)  # the remembered header must not skip a check
    for decoder in (None, known):
        with pytest.raises(BrokenClip) as caught:
            decode_member(member, data, (2, 24, 40, 1), decoder=decoder)
        assert str(caught.value) == cause


def test_the_number_of_frames_is_part_of_the_shape():
    with pytest.raises(BrokenClip, match=r"frames have shape \(4, 12, 40, 1\)"):
        decode_member("png", pillow(GREY), (2, 24, 40, 1), frames=4)
    with pytest.raises(BrokenClip, match="do not divide"):
        decode_member("png", pillow(GREY), (2, 24, 40, 1), frames=0)


def test_values_that_are_not_finite_are_refused():
    clip = np.zeros((1, 2, 2, 1), np.float32)
    clip[0, 1, 1, 0] = np.nan
    with pytest.raises(BrokenClip, match="clean hold values that are not finite"):
        decode_member("npy", encode_sample(Sample("a", clip, {}))["npy"], clip.shape, "float32",
             decoder=ClipDecoder("clean", clip.shape, "float32", "dataset.json"))  # fmt: skip


def test_headers_equal_those_of_pillow():
    for data, channels, bits in (
        (pillow(GREY), 1, 8),
        (pillow(SMOOTH), 3, 8),
        (pillow(GREY > 9), 1, 1),
        (pillow(SMOOTH, mode="RGBA"), 4, 8),
        (pillow(SMOOTH, mode="P"), None, 8),
        (pillow(SMOOTH, "jpeg", exif=EXIF, progressive=True), 3, 8),
        (pillow(GREY, "jpeg"), 1, 8),
    ):
        found = read_image_header(data)
        assert (found.width, found.height, found.channels, found.bits) == (40, 48, channels, bits)
        assert data.startswith(found.prefix)
        for end in range(len(found.prefix)):
            assert read_image_header(data[:end]) is None


def bomb(kind):
    """A small file that declares 30,000 x 30,000 pixels."""
    if kind == "jpg":
        data = bytearray(pillow(GREY, "jpeg"))
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", 30_000, 30_000)
        return bytes(data)
    rows = zlib.compress(bytes(30_001) * 3_000, 9)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 30_000, 30_000, 8, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b"")]
    body = b"".join(struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + body


LIMITED = """
import resource, sys
import numpy as np
from blear.data.shard.clip_codec import BrokenClip
from blear.data.shard.clip_decoder import ClipDecoder
from blear.data.shard.sample_codec import decode_sample
from blear.errors import DataError
data = sys.stdin.buffer.read()
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + 400_000_000,) * 2)  # its pixels alone are 900 MB
try:
    decoder = ClipDecoder("frames", (1, 48, 40, 1), "uint8", "the dataset's clip")
    decoder.decode_member("png", np.frombuffer(data, np.uint8), 1, np.empty((1, 48, 40, 1), np.uint8))
except BrokenClip as cause:
    sys.stdout.write(str(cause) + "|")
try:
    decode_sample("a", {"png": data, "json": b'{"targets": {}}'}, "x.tar")
except DataError as error:
    sys.stdout.write(error.what)
"""


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_an_image_bomb_is_never_decoded(kind):
    data = bomb(kind)
    assert len(data) < 200_000
    run = subprocess.run([sys.executable, "-c", LIMITED], input=data, capture_output=True, check=True, timeout=100)
    assert run.stdout.decode() == (
        "frames have shape (1, 30000, 30000, 1), the dataset's clip says (1, 48, 40, 1) [T, H, W, C]|"
        "the png member declares 30000x30000 pixels"
    )
