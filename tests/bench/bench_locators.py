"""Benchmark: face detectors by size, quality and rotation of the face, false detections, CPU time.

Faces of real pictures are pasted into frames without a face (`face_composites`). Each detector is built with
the smallest face given here on the CPU. `BLEAR_YUNET` names the ONNX file of YuNet, which is left out without it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import cv2
import numpy as np
from face_composites import DATA, FacePatch, backgrounds, blur, composites, face_patches, jpeg, noise, overlap
from measuring import Row, interleaved, threads

from blear.contracts import BuildContext, Locator
from blear.plugin.discovery import load_plugins

SIZES = (8, 10, 12, 16, 20, 32, 48, 100)
QUALITIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG q30": jpeg(30),
    "JPEG q10": jpeg(10),
    "blur 1.5 px": blur(1.5),
    "blur 3 px": blur(3),
    "noise 15": noise(15),
    "noise 40": noise(40),
}
TURNS = (15, 30, 45, 90, 180)
FOUND = 0.35  # overlap with the face's box
QUALITY_SIDE, TURN_SIDE = 24, 48


def build(name: str, **params: object) -> Locator:
    """A locator on the CPU."""
    return load_plugins().get("locator", name).build({"device": "cpu", **params}, BuildContext())


def recall(
    locator: Locator,
    patches: list[FacePatch],
    side: float,
    turn: float = 0.0,
    degrade: Callable[[np.ndarray], np.ndarray] = lambda image: image,
) -> float:
    """Share of the faces that are found."""
    hits = count = 0
    for image, boxes in composites(patches, side, turn):
        faces = [face.box for face in locator.faces(degrade(image)[None])[0]]
        hits += sum(any(overlap(box, face) >= FOUND for face in faces) for box in boxes)
        count += len(boxes)
    return hits / count


def false_detections(locator: Locator) -> float:
    """Detections for each frame without a face, at several qualities."""
    frames = [degrade(image) for degrade in (lambda image: image, *QUALITIES.values()) for image in backgrounds(6)]
    return sum(len(locator.faces(frame[None])[0]) for frame in frames) / len(frames)


def measure() -> list[Row]:
    """Rows: recall in percent, false detections, ms of CPU time for a frame. None without real data (`BLEAR_DATA`)."""
    if not (DATA / "photos").is_dir():
        return []
    patches = face_patches()
    rows = [Row("faces", len(patches), "faces")]
    names = ["retinaface", "centerface", "mtcnn"]
    params: dict[str, dict[str, object]] = {name: {"min_face": 12} for name in names}
    if "BLEAR_YUNET" in os.environ:
        params["yunet"] = {"min_face": 12, "file": os.environ["BLEAR_YUNET"]}
    with threads(1):
        cv2.setNumThreads(1)
        locators = {name: build(name, **chosen) for name, chosen in params.items()}
        for name, locator in locators.items():
            for side in SIZES:
                rows.append(Row(f"{name}, {side} px", 100 * recall(locator, patches, side), "% found"))
            fine = build(name, **params[name] | {"min_face": 6})
            for side in (6, 8):
                rows.append(Row(f"{name}, min_face 6, {side} px", 100 * recall(fine, patches, side), "% found"))
            for quality, degrade in QUALITIES.items():
                found = recall(locator, patches, QUALITY_SIDE, degrade=degrade)
                rows.append(Row(f"{name}, {QUALITY_SIDE} px, {quality}", 100 * found, "% found"))
            for turn in TURNS:
                found = recall(locator, patches, TURN_SIDE, turn)
                rows.append(Row(f"{name}, {TURN_SIDE} px, turned {turn}", 100 * found, "% found"))
            rows.append(Row(f"{name}, faceless frames", false_detections(locator), "false/frame"))
        rows += _times(locators, "640 x 360, min_face 12", (640, 360))
        for min_face in (12, 20):
            large = {name: build(name, **chosen | {"min_face": min_face}) for name, chosen in params.items()}
            rows += _times(large, f"1920 x 1080, min_face {min_face}", (1920, 1080))
    return rows


def _times(locators: dict[str, Locator], what: str, size: tuple[int, int]) -> list[Row]:
    frames = np.stack(backgrounds(2, size))
    arms = {name: (lambda locator=locator: locator.faces(frames)) for name, locator in locators.items()}
    taken = interleaved(arms, repeats=3, warm=1, clock=time.process_time)
    best = {name: float(np.median(times)) / len(frames) * 1000 for name, times in taken.items()}
    return [Row(f"{name}, {what}", ms, "ms of CPU", best["mtcnn"] / ms, "mtcnn") for name, ms in best.items()]
