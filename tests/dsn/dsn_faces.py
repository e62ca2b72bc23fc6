"""RAF-DB's basic package in its original layout, with procedural faces or with coloured spots at the landmarks."""

from pathlib import Path

import numpy as np
from PIL import Image

from blear.contracts import BuildContext
from blear.plugin.discovery import load_plugins

COLORS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255))
"""Of the spots: left eye, right eye, nose, left and right mouth corner."""
POINTS = np.array([[80.0, 60.0], [140.0, 66.0], [108.0, 100.0], [82.0, 130.0], [126.0, 134.0]])
BOX = (60, 40, 160, 150)
ROWS = tuple(
    (f"{split}_{n:05d}", code)
    for split, codes in (("train", range(1, 8)), ("test", (4, 1)))
    for n, code in enumerate(codes, 1)
)


def spots(points=POINTS, size=(220, 200), radius=3):
    """A grey picture [H, W, 3] with a square spot at every point."""
    image = np.full((*size, 3), 90, np.uint8)
    for (x, y), color in zip(np.rint(points).astype(int), COLORS, strict=True):
        image[y - radius : y + radius + 1, x - radius : x + radius + 1] = color
    return image


def spot_places(image_HWC):
    """Centre (x, y) of each spot."""
    found = []
    for color in COLORS:
        near = np.abs(image_HWC.astype(int) - color).sum(axis=2) < 120
        rows, columns = np.nonzero(near)
        found.append((columns.mean(), rows.mean()))
    return np.array(found)


def save(image_HWC, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image_HWC).save(path)


def faces(count, size=48):
    """Procedural faces, uint8 [N, H, W, 3]."""
    params = {"size": size, "subjects": {"train": 1, "dev": 1}, "per_subject": count}
    dataset = load_plugins().get("dataset", "faces/procedural").build(params, BuildContext())
    return np.stack([sample.frames[0] for sample in dataset.samples("train", dataset.parts("train")[0])])


def raf_package(root: Path) -> Path:
    """Nine faces: train_00001 to train_00007 with the codes 1 to 7, test_00001 with 4 and test_00002 with 1."""
    basic = root / "basic"
    lines = [f"{stem}.jpg {code}" for stem, code in ROWS]
    write(basic / "EmoLabel" / "list_patition_label.txt", lines)
    for number, (stem, _) in enumerate(ROWS):
        image = spots()
        image[:20] = 20 * number
        save(image, basic / "Image" / "original" / f"{stem}.jpg")
        save(np.full((100, 100, 3), 20 * number, np.uint8), basic / "Image" / "aligned" / f"{stem}_aligned.jpg")
        write(basic / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt", [" ".join(map(str, BOX)) + " "])
        points = [f"{x:.3f}\t{y:.3f}" for x, y in POINTS]
        write(basic / "Annotation" / "manual" / f"{stem}_manu_attri.txt", [*points, "1", "0", "2"])
    return root


def write(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))
