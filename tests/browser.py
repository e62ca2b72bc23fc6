"""A page in headless Chromium, driven through its DevTools: any width and theme, script results, screenshots."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiohttp

_FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0"""
_POLLS = 1200


class Tab:
    """One open page."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._count = 0
        self.requests: list[str] = []  # everything that the page asked for

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """A DevTools command and its result."""
        self._count += 1
        await self._socket.send_json({"id": self._count, "method": method, "params": params})
        while True:
            message = await self._receive()
            if message.get("id") == self._count:
                assert "error" not in message, message
                return message["result"]

    async def open(self, page: Path, width: int, theme: str) -> None:
        """The page at a window's width, for a reader whose system is `light` or `dark`."""
        await self.open_url(page.as_uri(), width, theme)

    async def open_url(self, url: str, width: int, theme: str) -> None:
        """As `open`, the page at an address."""
        await self.call("Network.enable")
        await self.call("Page.enable")
        media = [{"name": "prefers-color-scheme", "value": theme}]
        await self.call("Emulation.setEmulatedMedia", features=media)
        await self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 640
        )
        await self.call("Page.navigate", url=url)
        while (await self._receive()).get("method") != "Page.loadEventFired":
            pass

    async def evaluate(self, script: str) -> Any:
        """The value of a script; the page's own policy does not forbid it."""
        found = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script: str) -> Any:
        """The first value of a script that is not empty."""
        for _ in range(_POLLS):
            if found := await self.evaluate(script):
                return found
            await asyncio.sleep(0.05)
        raise AssertionError(f"nothing within 60 s: {script}")

    async def click(self, selector: str) -> None:
        """A click of the mouse on the middle of an element."""
        place = "(e => { const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })"
        x, y = await self.evaluate(f"{place}(document.querySelector({json.dumps(selector)}))")
        for kind in ("mousePressed", "mouseReleased"):
            await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def choose_file(self, selector: str, file: Path) -> None:
        """A file that a person chooses in an input of the page."""
        document = await self.call("DOM.getDocument")
        node = await self.call("DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector)
        await self.call("DOM.setFileInputFiles", files=[str(file)], nodeId=node["nodeId"])

    async def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    async def _receive(self) -> dict[str, Any]:
        message = await self._socket.receive_json(timeout=60)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message


def browse(
    command: str, folder: Path, visit: Callable[[Tab], Coroutine[Any, Any, Any]], flags: Sequence[str] = ()
) -> Any:
    """Starts Chromium, lets `visit` use a tab, ends it; returns what `visit` returns."""

    async def main() -> Any:
        port, _ = (folder / "DevToolsActivePort").read_text().split()
        async with aiohttp.ClientSession() as session:
            async with session.put(f"http://127.0.0.1:{port}/json/new?about:blank") as response:
                address = (await response.json())["webSocketDebuggerUrl"]
            async with session.ws_connect(address, max_msg_size=0) as socket:
                return await visit(Tab(socket))

    folder.mkdir(parents=True, exist_ok=True)
    arguments = [command, *_FLAGS.split(), *flags, f"--user-data-dir={folder}", "about:blank"]
    with tempfile.TemporaryDirectory() as own:  # Chromium leaves a folder with its socket in TMPDIR
        environment = os.environ | {"TMPDIR": own}
        with subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
        ) as browser:
            try:
                _wait(folder / "DevToolsActivePort", browser)
                return asyncio.run(main())
            finally:
                browser.terminate()
                browser.wait(30)


def _wait(file: Path, browser: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if file.is_file() and len(file.read_text().split()) == 2:
            return
        assert browser.poll() is None, "Chromium ended"
        try:
            browser.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("Chromium opened no DevTools within 30 s")
