"""Transcoding of one clip by each codec: quality and bits, dropped frames, lost packets, sizes, bit counts."""

import io
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction

import av
import av.bitstream
import av.logging
import cv2
import numpy as np
import pytest
from codec_clips import VIDEO, face, psnr

from blear.errors import PluginError
from blear.video import open_encoder
from blear_codec import codecs
from blear_codec.codecs import CODECS, Settings, options_of, require_codec
from blear_codec.jpeg import jpeg_roundtrip
from blear_codec.pixel_formats import PixelConverter
from blear_codec.transcode import transcode


def settings(name, **changes):
    codec = CODECS[name]
    rate = {} if "kbps" in changes else {"crf": codec.default_crf}
    return Settings(name, **{"preset": next(iter(codec.presets), ""), **rate, **changes})


@pytest.mark.parametrize("name", VIDEO)
def test_quality_and_bits_fall_with_crf(name):
    clip, levels = face(), CODECS[name].levels
    coded = [transcode(clip, settings(name, crf=crf)) for crf in (levels[0], levels[3], levels[6])]
    quality = [psnr(clip, one.frames_THWC) for one in coded]
    assert quality[0] > quality[1] > quality[2]
    assert quality[0] > 30
    assert quality[2] > 14
    assert coded[0].bits > coded[1].bits > coded[2].bits > 0
    assert coded[0].kbps == pytest.approx(coded[0].bits / (6 / 25) / 1000)


@pytest.mark.parametrize("name", VIDEO)
def test_a_higher_bit_rate_gives_more_bits_and_higher_psnr(name):
    clip = face(length=12)
    low, high = (transcode(clip, settings(name, kbps=kbps)) for kbps in (10, 600))
    assert low.bits < high.bits
    assert psnr(clip, low.frames_THWC) < psnr(clip, high.frames_THWC)


@pytest.mark.parametrize("name", VIDEO)
def test_the_same_clip_gives_the_same_frames_and_bits(name):
    first, second = (transcode(face(), settings(name)) for _ in range(2))
    assert np.array_equal(first.frames_THWC, second.frames_THWC)
    assert first.bits == second.bits


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize(("height", "width", "length"), [(6, 6, 1), (7, 9, 3), (33, 18, 2)])
def test_small_and_odd_sizes(name, height, width, length):
    for color in ("rgb", "luma"):
        clip = np.stack([cv2.resize(frame, (width, height)) for frame in face(color=color)[:length]])
        clip = clip.reshape(length, height, width, -1)
        out = transcode(clip, settings(name, crf=CODECS[name].crf[0])).frames_THWC
        assert out.shape == clip.shape
        assert out.dtype == np.uint8
        if color == "luma":  # no chroma to lose
            assert psnr(clip, out) > 30


def test_a_large_size():
    clip = np.stack([cv2.resize(frame, (512, 512)) for frame in face()[:2]])
    assert psnr(clip, transcode(clip, settings("h264", crf=18)).frames_THWC) > 35


@pytest.mark.parametrize("name", VIDEO)
def test_bits_are_those_of_an_independent_encoder(name):
    clip, chosen = face(), settings(name)
    encoder = av.CodecContext.create(CODECS[name].encoder, "w")
    encoder.width, encoder.height, encoder.pix_fmt = 64, 64, CODECS[name].pixels
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
    encoder.options = options_of(chosen)
    open_encoder(encoder)
    converter, packets = PixelConverter(CODECS[name], (64, 64, 3)), []
    for number, picture in enumerate(clip):
        frame = converter.to_frame(picture)
        frame.pts = number
        packets += encoder.encode(frame)
    packets += encoder.encode(None)
    size = sum(packet.size for packet in packets)
    if name == "h264":  # without the text about x264 in SEI units of type 5
        stream = b"".join(bytes(packet) for packet in packets)
        units = re.split(rb"\x00\x00\x01", stream)
        own = [unit for unit in units if unit[:2] == b"\x06\x05"]
        assert len(own) == 1
        assert b"x264 - core" in own[0]
        assert size - 8 * 2 - len(own[0]) < transcode(clip, chosen).bits / 8 < size - len(own[0])
    else:
        assert transcode(clip, chosen).bits == 8 * size
    assert len(packets) == 6
    assert not encoder.options  # the encoder accepted every option


@pytest.mark.parametrize("name", VIDEO)
def test_dropped_frames_repeat_the_previous_frame_and_cost_no_bits(name):
    clip, all_of_them = face(), np.ones(6, bool)
    frozen = transcode(clip, settings(name), dropped_T=all_of_them)
    assert np.array_equal(frozen.frames_THWC, frozen.frames_THWC[:1].repeat(6, axis=0))
    assert psnr(clip[:1], frozen.frames_THWC[:1]) > 20
    whole = transcode(clip, settings(name))
    some = transcode(clip, settings(name), dropped_T=np.array([1, 0, 1, 1, 0, 0], bool))  # the first is never dropped
    assert frozen.bits < some.bits < whole.bits
    assert np.array_equal(some.frames_THWC[2], some.frames_THWC[1])
    assert np.array_equal(some.frames_THWC[3], some.frames_THWC[1])
    assert not np.array_equal(some.frames_THWC[4], some.frames_THWC[3])


@pytest.mark.parametrize("name", VIDEO)
def test_lost_packets(name):
    clip = face()
    whole = transcode(clip, settings(name))
    none = transcode(clip, settings(name), lost_T=np.zeros(6, bool))
    assert np.array_equal(none.frames_THWC, whole.frames_THWC)
    everything = transcode(clip, settings(name), lost_T=np.ones(6, bool))
    assert not everything.frames_THWC.any()
    late = transcode(clip, settings(name), lost_T=np.array([0, 0, 0, 1, 1, 1], bool))
    assert np.array_equal(late.frames_THWC[0], whole.frames_THWC[0])
    assert np.array_equal(late.frames_THWC[3:], late.frames_THWC[2:3].repeat(3, axis=0))
    first = transcode(clip, settings(name), lost_T=np.array([1, 0, 0, 0, 0, 0], bool))
    assert first.frames_THWC.shape == clip.shape
    assert psnr(clip, first.frames_THWC) < psnr(clip, whole.frames_THWC)
    assert everything.bits == first.bits == whole.bits  # lost packets count


def test_a_lost_frame_of_motion_jpeg_changes_no_other_frame():
    whole = transcode(face(), settings("mjpeg")).frames_THWC
    lossy = transcode(face(), settings("mjpeg"), lost_T=np.array([1, 0, 1, 0, 0, 0], bool)).frames_THWC
    assert not lossy[0].any()
    assert np.array_equal(lossy[2], whole[1])
    assert np.array_equal(lossy[[1, 3, 4, 5]], whole[[1, 3, 4, 5]])


def test_distance_of_key_frames():
    clip = face()[:1].repeat(8, axis=0)
    seldom, often = (transcode(clip, settings("h264", gop=gop)) for gop in (50, 1))
    assert often.bits > 3 * seldom.bits


def test_colours_survive_the_conversion():
    """Flat colours are not affected by chroma subsampling: only rounding to 8 bits remains, in both directions."""
    for colour in [(255, 0, 0), (0, 255, 0), (30, 60, 200), (128, 128, 128), (255, 255, 255), (0, 0, 0)]:
        clip = np.full((1, 16, 16, 3), colour, np.uint8)
        for name in ("h264", "mjpeg"):
            converter = PixelConverter(CODECS[name], clip.shape[1:])
            back = converter.to_picture(converter.to_frame(clip[0])).astype(int)
            assert np.abs(back - clip[0]).max() <= 3


def test_colour_conversion_is_bt_601():
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    studio, full = (PixelConverter(CODECS[name], red.shape).to_frame(red).to_ndarray() for name in ("h264", "mjpeg"))
    # Y = 0.299 R, Cb = 128 - 0.168736 R, Cr = 128 + 0.5 R; in studio range Y = 16 + 219/255 Y', C = 128 + 224/255 C'.
    assert [int(plane) for plane in (full[0, 0], full[16, 0], full[23, 0])] == pytest.approx([76, 85, 255], abs=1)
    assert [int(plane) for plane in (studio[0, 0], studio[16, 0], studio[23, 0])] == pytest.approx([81, 90, 240], abs=1)


def test_grey_changes_by_at_most_one_step():
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    for name in ("h264", "mjpeg"):
        converter = PixelConverter(CODECS[name], ramp.shape)
        back = converter.to_picture(converter.to_frame(ramp)).astype(int)
        assert np.abs(back - ramp).max() <= 1


def test_jpeg_equals_opencvs_round_trip():
    picture = face()[0]
    good, bad = (jpeg_roundtrip(picture, quality) for quality in (90, 10))
    assert psnr(picture, good.picture_HWC) > psnr(picture, bad.picture_HWC)
    file = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 10])[1]
    assert bad.bits == 8 * len(file.tobytes())
    assert np.array_equal(bad.picture_HWC, cv2.imdecode(file, cv2.IMREAD_COLOR)[..., ::-1])
    grey = jpeg_roundtrip(face(color="luma")[0], 90)
    assert grey.picture_HWC.shape == (64, 64, 1)
    assert psnr(face(color="luma")[0], grey.picture_HWC) > 35


def test_a_missing_encoder_is_named(monkeypatch):
    lacking = replace(CODECS["av1"], encoder="librav1e_of_nobody")
    with pytest.raises(PluginError, match=r"codec/av1: .* no encoder 'librav1e_of_nobody' for AV1"):
        require_codec(lacking)
    with pytest.raises(PluginError, match="no decoder 'dav2d'"):
        require_codec(replace(CODECS["av1"], decoder="dav2d"))
    monkeypatch.setitem(codecs.CODECS, "av1", lacking)
    with pytest.raises(PluginError, match="librav1e_of_nobody"):
        transcode(face(), settings("av1"))


def test_an_encoders_rejection_is_reported():
    with pytest.raises(PluginError, match=r"codec/h264: libx264 rejects frames of 64 x 64 .*preset='warp'"):
        transcode(face(), settings("h264", preset="warp"))


@pytest.mark.parametrize(
    ("name", "size", "length", "crf"),
    [("h264", 96, 3, 33), ("h264", 48, 6, 33), ("hevc", 64, 8, 18), ("av1", 64, 3, 28)],
)
def test_bits_do_not_depend_on_previous_memory_content(name, size, length, crf):
    """x264's macroblock tree and x265's coding tree units of 64 sometimes gave other bits for the same clip."""
    clip = np.stack([cv2.resize(frame, (size, size)) for frame in face(96, length)])

    def coded(number):
        rng = np.random.default_rng(number)
        rubbish = [rng.integers(0, 256, int(count), dtype=np.uint8) for count in rng.integers(500, 120_000, 40)]
        del rubbish  # freed: the encoder gets this memory
        one = transcode(clip, settings(name, crf=crf))
        return one.bits, one.frames_THWC.tobytes()

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(coded, range(16)))) == 1


@pytest.mark.parametrize("name", ["h264", "hevc", "av1", "vp9"])
def test_a_constant_quantiser_is_that_of_every_frame(name):
    """Equal pictures cost the same bits in all-intra coding; a larger quantiser costs fewer."""
    clip = face()[:1].repeat(3, axis=0)
    coded = [
        transcode(clip, replace(settings(name, structure="all_intra", kbps=1), kbps=None, qp=qp)) for qp in (24, 36, 48)
    ]
    assert coded[0].bits > coded[1].bits > coded[2].bits
    for one in coded:
        assert psnr(one.frames_THWC[0], one.frames_THWC[2]) > 45  # not with crf, which codes later frames otherwise
    assert psnr(clip, coded[0].frames_THWC) > psnr(clip, coded[2].frames_THWC)


@pytest.mark.parametrize("name", ["h264", "hevc", "av1", "vp9"])
@pytest.mark.parametrize("structure", ["default", "low_delay"])
def test_the_stream_has_one_quantiser(name, structure, monkeypatch):
    real, packets = transcode.__globals__["_encode"], []
    monkeypatch.setitem(transcode.__globals__, "_encode", lambda *given: packets.extend(real(*given)) or packets)
    transcode(face(length=12), replace(settings(name, structure=structure, kbps=1), kbps=None, qp=37))
    fields = header_fields(name, packets)
    frames = fields["base_q_idx" if name in ("av1", "vp9") else "slice_qp_delta"]
    assert len(frames) == 12
    assert len(set(frames)) == 1
    if name in ("h264", "hevc"):
        initial = fields["pic_init_qp_minus26" if name == "h264" else "init_qp_minus26"]
        assert {26 + start + frames[0] for start in initial} == {37}


def header_fields(name, packets):
    """Every field of the stream's headers with its values, as FFmpeg's filter `trace_headers` prints them."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream = container.add_stream(CODECS[name].encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        open_encoder(stream.codec_context)
        for packet in packets:
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            container.mux(packet)
    buffer.seek(0)
    found, level = {}, av.logging.get_level()
    with av.open(buffer) as container, av.logging.Capture() as lines:
        trace = av.bitstream.BitStreamFilterContext("trace_headers", container.streams.video[0])
        av.logging.set_level(av.logging.TRACE)
        try:
            for packet in container.demux(video=0):
                trace.filter(packet)
        finally:
            av.logging.set_level(level)
    for _, _, line in lines:
        if field := re.search(r"(\w+)\s+[01]+ = (-?\d+)", line):
            found.setdefault(field[1], []).append(int(field[2]))
    return found


@pytest.mark.parametrize("name", ["h264", "hevc", "av1", "vp9", "mpeg4"])
def test_structures_of_the_frames(name, monkeypatch):
    clip, seen = face(length=12), []
    real = transcode.__globals__["_encode"]

    def encode(*arguments):
        packets = real(*arguments)
        # the first packet of x264 was written again without its text, and without its flag
        seen.append([(packet.pts, packet.is_keyframe or packet.pts == 0) for packet in packets])
        return packets

    monkeypatch.setitem(transcode.__globals__, "_encode", encode)
    for structure in ("default", "low_delay", "all_intra"):
        transcode(clip, settings(name, structure=structure))
    default, low_delay, all_intra = seen
    assert [pts for pts, _ in low_delay] == list(range(12))
    assert [key for _, key in all_intra] == [True] * 12
    assert [key for _, key in low_delay] == [True] + [False] * 11
    if name in ("h264", "hevc"):
        assert [pts for pts, _ in default] != list(range(12))  # later frames are coded before those that refer to them
