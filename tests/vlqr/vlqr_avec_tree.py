"""A tiny AVEC 2016 tree in the exact raw layout, with real mp4 files."""

import cv2
import numpy as np

FRAMES = 12
HEIGHT, WIDTH = 140, 160
FLAT_RGB = (250, 240, 245)

# left, top, width, height in 1-based pixels, one for each frame; the frames below are the usable ones
BOXES = [
    (0, 0, 0, 0),
    (5, 5, 100, 120),
    (5, 5, 120, 100),
    (5, 5, 100.5, 101),
    (10.2, 5.7, 110, 120.4),
    (70, 40, 130, 131),
    (-4.5, -3, 120, 110),
    (0, 0, 0, 0),
    (20, 20, 40, 50),
    (0, 0, 0, 0),
    (1, 1, 101, 101),
    (3, 4, 150, 130),
]
KEPT = [3, 4, 5, 6, 10, 11]
ARFF_HEADER = [
    "@relation GoldStandard",
    "",
    "@attribute Instance_name string",
    "@attribute frameTime numeric",
    "@attribute GoldStandard numeric",
    "",
    "% RECOLA",
    "@data",
    "",
]


def valence(k):
    return round(-0.5 + 0.05 * k, 3)


def arousal(k):
    return round(0.3 - 0.02 * k, 3)


def write_video(path, frames):
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()


def write_text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def drawn_frames(seed):
    rng = np.random.default_rng(seed)
    tint = rng.integers(60, 200, size=3)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    frames = []
    for k in range(FRAMES):
        frame = np.stack([(tint[c] + rows * 0.3 - columns * 0.2 * c).clip(0, 255) for c in range(3)], axis=-1)
        frame = np.ascontiguousarray(frame.astype(np.uint8))
        cv2.circle(frame, (30 + 8 * k, 70), 25, (10, 20 * k, 240), -1)
        frames.append(frame)
    return frames


def add_video(root, name, frames, jitter=0.0, labels=True):
    write_video(root / "recordings_video" / f"{name}.mp4", frames)
    times = [f"{k};{0.04 * k + jitter:.3f}" for k in range(FRAMES)]
    write_text(root / "recordings_video_frame_time" / f"{name}.csv", ["frame;time", *times])
    if not labels:
        return
    boxes = [f"{0.04 * k + jitter:.3f}," + ",".join(map(str, box)) for k, box in enumerate(BOXES)]
    write_text(root / "bbox" / f"{name}.csv", ["time,left,top,width,height", *boxes])
    for quantity, value in (("valence", valence), ("arousal", arousal)):
        rows = [f"'{name}',{0.04 * k:.2f},{value(k)}" for k in range(FRAMES + 3)]
        write_text(root / "ratings_gold_standard" / quantity / f"{name}.arff", [*ARFF_HEADER, *rows])
