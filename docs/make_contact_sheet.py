"""Writes docs/faces.png: rows are the seven emotions, columns are identities. Run: python docs/make_contact_sheet.py"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from blear_faces.expression import EMOTIONS
from blear_faces.population import frames_of, population
from blear_faces.render import render

SIZE, GAP, LABEL = 112, 4, 84
SUBJECTS = (0, 5, 2, 3, 16, 6, 9, 7)


def main() -> None:
    """Writes the contact sheet into the folder of this file."""
    rows_n, columns_n = len(EMOTIONS), len(SUBJECTS)
    subject = np.tile(np.array(SUBJECTS), rows_n)
    rows = population(0, 0, subject, np.arange(len(subject)) // columns_n % 4, 4, 4)
    rows["emotion"] = np.repeat(np.arange(rows_n), columns_n).astype(float)
    rows["strength"] = np.full(len(subject), 0.95)
    faces = render(frames_of(rows, 1, 25.0), SIZE).reshape(rows_n, columns_n, SIZE, SIZE, 3)
    step = SIZE + GAP
    sheet = np.full((rows_n * step + GAP, LABEL + columns_n * step + GAP, 3), 255, np.uint8)
    for i, emotion in enumerate(EMOTIONS):
        y = GAP + i * step
        place = (8, y + SIZE // 2 + 5)
        cv2.putText(sheet, emotion, place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
        for j in range(columns_n):
            x = LABEL + j * step
            sheet[y : y + SIZE, x : x + SIZE] = faces[i, j]
    out = Path(__file__).with_name("faces.png")
    few_colors = Image.fromarray(sheet).quantize(256, dither=Image.Dither.NONE)  # a third of the file size
    few_colors.save(out, optimize=True)


if __name__ == "__main__":
    main()
