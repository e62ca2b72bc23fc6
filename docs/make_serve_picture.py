"""Writes docs/serve.png: the page of `blear serve` in headless Chromium, with a drawn face.

python docs/make_serve_picture.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from blear_faces.expression import EMOTIONS
from blear_faces.population import frames_of, population
from blear_faces.render import render

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browser import Tab, browse
from serving import Server

SIZE, WIDTH = 160, 1100
CONTROLS = {"scale": 3, "jpeg": 10}
SET = (
    "(() => { const s = document.getElementById('control-%s'); s.value = %s; s.dispatchEvent(new Event('input')); })()"
)


def main() -> None:
    """Writes the picture into the folder of this file."""
    rows = population(0, 0, np.array([5]), np.array([0]), 1, 1)
    rows["emotion"], rows["strength"] = np.array([float(EMOTIONS.index("happy"))]), np.array([0.95])
    server = Server()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "face.png")
        Image.fromarray(render(frames_of(rows, 1, 25.0), SIZE).reshape(SIZE, SIZE, 3)).save(file)

        async def visit(tab: Tab) -> None:
            await tab.open_url(f"{server.address}/", WIDTH, "light")
            await tab.until("document.body.dataset.ready")
            await tab.evaluate("document.getElementById('crop').click()")
            for name, value in CONTROLS.items():
                await tab.evaluate(SET % (name, value))
            await tab.choose_file("#file", file)
            await tab.until("document.querySelectorAll('.face td.number').length")
            await tab.screenshot(Path(__file__).with_name("serve.png"))

        browse(shutil.which("chromium") or "chromium", Path(folder, "profile"), visit)
    server.stop()


if __name__ == "__main__":
    main()
