"""The page of `blear serve` in headless Chromium, at the widths of a desktop and of a phone."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from browser import browse

pytestmark = pytest.mark.browser
VALUES = "[...document.querySelectorAll('.face td.number')].map(e => parseFloat(e.textContent))"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    image = np.asarray(coarse.resize((96, 96), Image.Resampling.BICUBIC).convert("RGB"))
    Image.fromarray(image).save(folder / "face.png")
    with av.open(str(folder / "clip.webm"), "w") as container:
        stream = container.add_stream("libvpx", 10)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for n in range(10):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.roll(image, n, axis=1))):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    (folder / "text.png").write_text("no picture")
    return folder


async def key(tab, name, code):
    for kind in ("keyDown", "keyUp"):
        await tab.call("Input.dispatchKeyEvent", type=kind, key=name, code=name, windowsVirtualKeyCode=code)


@pytest.mark.parametrize("width", [1280, 375])
def test_a_face_is_predicted_degraded_with_the_keyboard_and_shown(server, chromium, files, tmp_path, width):
    async def visit(tab):
        await tab.open_url(f"{server.address}/", width, "light")
        await tab.until("document.body.dataset.ready")
        await tab.evaluate("document.getElementById('crop').click()")
        await tab.choose_file("#file", files / "face.png")
        await tab.until("document.querySelectorAll('.face td.number').length")
        first = await tab.evaluate(VALUES)
        await tab.evaluate("document.getElementById('control-blur').focus()")
        await key(tab, "End", 35)  # the greatest value
        await tab.until(
            f"JSON.stringify({VALUES}) != {json.dumps(json.dumps(first, separators=(',', ':')))} && 'changed'"
        )
        facts = await tab.evaluate(
            "({shown: document.querySelector('output[for=control-blur]').textContent,"
            " spoken: document.getElementById('control-blur').getAttribute('aria-valuetext'),"
            " status: document.getElementById('status').textContent,"
            " size: document.querySelector('.facts').textContent,"
            " unlabelled: [...document.querySelectorAll('input')].filter(e => !e.labels.length).length,"
            " silent: [...document.querySelectorAll('img')].filter(e => !e.alt).length,"
            " width: document.documentElement.scrollWidth})"
        )
        second = await tab.evaluate(VALUES)
        await tab.click("#reset")
        await tab.until(
            f"JSON.stringify({VALUES}) == {json.dumps(json.dumps(first, separators=(',', ':')))} && 'again'"
        )
        return first, second, facts, tab.requests

    first, second, facts, requests = browse(chromium, tmp_path / "profile", visit)
    assert len(first) == 7
    assert abs(sum(first) - 100) < 0.5
    assert max(abs(a - b) for a, b in zip(first, second, strict=True)) > 1
    assert facts == {
        "shown": "4", "spoken": "4", "status": "1 face.", "size": "Face of 96 pixels.", "unlabelled": 0, "silent": 0,
        "width": width,
    }  # fmt: skip
    assert [url for url in requests if not url.startswith((server.address, "data:", "blob:"))] == []


def test_videos_have_frames_and_damaged_files_a_message(server, chromium, files, tmp_path):
    async def visit(tab):
        await tab.open_url(f"{server.address}/", 1280, "dark")
        await tab.until("document.body.dataset.ready")
        await tab.evaluate("document.getElementById('crop').click()")
        await tab.choose_file("#file", files / "clip.webm")
        await tab.until("document.querySelectorAll('.face td.number').length")
        first = await tab.evaluate(f"[document.getElementById('frame').max, {VALUES}]")
        await tab.evaluate("document.getElementById('frame').focus()")
        await key(tab, "End", 35)
        await tab.until("document.getElementById('time').textContent == '0.80 s'")
        await tab.until("document.querySelectorAll('.face td.number').length")
        last = await tab.evaluate(VALUES)
        drawn = await tab.evaluate(
            "(c => c.getContext('2d').getImageData(40, 40, 1, 1).data[3])(document.getElementById('view'))"
        )
        await tab.choose_file("#file", files / "text.png")
        await tab.until("document.getElementById('status').classList.contains('wrong')")
        message = await tab.evaluate("document.getElementById('status').textContent")
        return first, last, drawn, message, await tab.evaluate("document.querySelectorAll('.face').length")

    (last_frame, first), last, drawn, message, faces = browse(chromium, tmp_path / "profile", visit)
    assert last_frame == "3"  # at 0, 0.3, 0.5, 0.8 s
    assert first != last
    assert drawn == 255
    assert message.startswith("the file is neither a picture")
    assert faces == 0


def test_the_camera_is_predicted_until_it_is_stopped(server, chromium, tmp_path):
    async def visit(tab):
        await tab.open_url(f"{server.address}/", 1280, "light")
        await tab.until("document.body.dataset.ready")
        await tab.evaluate("document.getElementById('crop').click()")
        await tab.click("#camera")
        await tab.until("document.querySelectorAll('.face td.number').length")
        pressed = await tab.evaluate("document.getElementById('camera').getAttribute('aria-pressed')")
        await tab.click("#camera")
        return pressed, await tab.evaluate("document.getElementById('camera').textContent")

    camera = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    assert browse(chromium, tmp_path / "profile", visit, camera) == ("true", "Use the camera")


def test_the_page_of_the_api_lists_every_parameter(server, chromium, tmp_path):
    async def visit(tab):
        await tab.open_url(f"{server.address}/docs", 375, "light")
        await tab.until("document.body.dataset.ready")
        return await tab.evaluate("document.querySelector('main').innerText"), tab.requests

    text, requests = browse(chromium, tmp_path / "profile", visit)
    for word in ("POST /predict", "GET /models", "crf", "from 0 to 4", "curl", "FaceAnswer", "probabilities"):
        assert word in text
    assert [url for url in requests if not url.startswith((server.address, "data:"))] == []
