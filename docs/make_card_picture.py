"""Writes docs/card.png: the head of a report card in headless Chromium.

python docs/make_card_picture.py CARD     (the folder that `blear card` wrote, docs/cards/index.md has the command)
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from browser import Tab, browse

WIDTH, HEIGHT, COLOURS = 1100, 1118, 64


def main() -> None:
    """Writes the picture into the folder of this file."""
    page = Path(sys.argv[1], "card.html").resolve()
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder, "card.png")

        async def visit(tab: Tab) -> None:
            await tab.open(page, WIDTH, "light")
            await tab.screenshot(shot)

        browse(shutil.which("chromium") or "chromium", Path(folder, "profile"), visit)
        with Image.open(shot) as whole:
            head = whole.convert("RGB").crop((0, 0, WIDTH, HEIGHT))
    out = Path(__file__).with_name("card.png")
    head.quantize(COLOURS, dither=Image.Dither.NONE).save(out, optimize=True)


if __name__ == "__main__":
    main()
