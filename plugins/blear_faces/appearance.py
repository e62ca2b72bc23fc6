"""The appearance of a face from its drawn numbers: head pose, positions of the features, colours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from blear_faces.paint import Appearance
from blear_faces.population import Rows

SKIN = np.array([[0.98, 0.85, 0.75], [0.93, 0.75, 0.61], [0.82, 0.62, 0.46], [0.63, 0.43, 0.30], [0.42, 0.27, 0.19]])
HAIR = np.array([[0.09, 0.07, 0.06], [0.20, 0.12, 0.08], [0.38, 0.23, 0.12], [0.68, 0.48, 0.24], [0.62, 0.60, 0.58]])
IRIS = np.array([[0.20, 0.12, 0.07], [0.34, 0.21, 0.10], [0.35, 0.40, 0.22], [0.28, 0.42, 0.55]])
DEPTH = 0.85
"""Depth of the front of the head in face units; features move in proportion to it when the head turns."""


def interpolate_colors(colors: np.ndarray, position_N: np.ndarray) -> np.ndarray:
    """Colours [N, 3] at positions in [0, 1] along a list of colours, interpolated linearly."""
    places = np.linspace(0, 1, len(colors))
    return np.stack([np.interp(position_N, places, colors[:, c]) for c in range(3)], axis=1)


def tint(hue_N: np.ndarray, tone_N: np.ndarray, strength: float) -> np.ndarray:
    """Muted colours [N, 3]: greys of brightness `tone_N`, tinted with a hue `hue_N` in [0, 1]."""
    angle = 2 * np.pi * (hue_N[:, None] + np.array([0.0, 1 / 3, 2 / 3]))
    return np.clip(tone_N[:, None] * (1 + strength * np.cos(angle)), 0, 1)


def project(r: Rows, u_N: np.ndarray, v_N: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Projects points of the frontal face onto the turned head.

    Returns:
        u and v of each point, and its horizontal foreshortening, each [N].
    """
    depth = DEPTH * np.sqrt(np.clip(1 - (u_N / 1.15) ** 2 - (v_N / 1.7) ** 2, 0.05, 1))
    slope = DEPTH**2 * u_N / (1.15**2 * depth)
    u = u_N * np.cos(r["yaw"]) + depth * np.sin(r["yaw"])
    v = v_N * np.cos(r["pitch"]) + depth * np.sin(r["pitch"])
    return u, v, np.clip(np.cos(r["yaw"]) - slope * np.sin(r["yaw"]), 0.55, 1.3)


def appearance_of(r: Rows, size: int) -> Appearance:
    """All values that the painting functions read, as float32 tensors.

    Args:
        r: the columns of `population.frames_of`.
        size: height and width of the image in pixels.
    """
    n = len(r["scale"])
    k: dict[str, np.ndarray] = dict(r)
    k["scale"] = r["scale"] * 0.40 * size
    k["center_x"] = size * (0.5 + r["shift_x"] - 0.10 * np.sin(r["yaw"]))
    k["center_y"] = size * (0.45 + r["shift_y"])
    k["cos"], k["sin"] = np.cos(r["roll"]), np.sin(r["roll"])
    k["size"] = np.full(n, float(size))
    k["turn"] = np.sin(r["yaw"])
    for side, sign in (("left", -1.0), ("right", 1.0)):
        k[f"eye_{side}_u"], k[f"eye_{side}_v"], k[f"eye_{side}_squeeze"] = project(
            r, sign * r["eye_x"], np.full(n, -0.20)
        )
    k["nose_u"], k["nose_v"], k["nose_squeeze"] = project(r, np.zeros(n), r["nose_y"])
    k["nose_u"] += 0.18 * np.sin(r["yaw"])  # the tip of the nose protrudes, so it moves further
    k["mouth_u"], k["mouth_v"], k["mouth_squeeze"] = project(r, np.zeros(n), r["mouth_y"])
    light = np.stack([r["light_x"], r["light_y"], np.ones(n)])
    k["lx"], k["ly"], k["lz"] = light / np.linalg.norm(light, axis=0)
    k["ambient"] = 1 - r["light_strength"]
    k["bald"] = (r["hair_style"] < 0.08).astype(float)
    k["long"] = (r["hair_style"] > 0.55).astype(float)
    k["fringe"] = ((r["hair_style"] > 0.82) | ((r["hair_style"] > 0.3) & (r["hair_style"] < 0.42))).astype(float)
    k["has_glasses"] = (r["glasses"] < 0.15).astype(float)
    short = r["hair_style"] < 0.5
    k["has_beard"] = (short & (r["beard"] < 0.22)).astype(float)
    k["has_moustache"] = (short & (r["beard"] > 0.12) & (r["beard"] < 0.30)).astype(float)
    k["has_stubble"] = (short & (r["beard"] > 0.30) & (r["beard"] < 0.45)).astype(float)
    # Rounding: math libraries may differ in the last bit, but the image must be the same everywhere.
    numbers = {name: _tensor(np.round(column, 5)).view(n, 1, 1) for name, column in k.items()}
    colors = {name: _tensor(np.round(c, 5)).view(n, 3, 1, 1) for name, c in palette(r).items()}
    return numbers | colors


def palette(r: Rows) -> dict[str, np.ndarray]:
    """Name -> colours [N, 3] in [0, 1], under the light of the recording."""
    level = (r["exposure"] * r["flicker"] * (1 + 0.32 * r["skin_tone"]))[
        :, None
    ]  # the camera adapts its exposure to the face
    skin = interpolate_colors(SKIN, r["skin_tone"]) * (
        1 + 0.03 * r["skin_warmth"][:, None] * np.array([1.0, 0.0, -1.0])
    )
    grey = np.clip((r["age"][:, None] - 0.75) * 3, 0, 0.7)
    hair_position = r["hair_tone"] * (1 - 0.55 * r["skin_tone"])
    hair = interpolate_colors(HAIR[:4], hair_position) * (1 - grey) + HAIR[4] * grey
    red = np.array([0.78, 0.40, 0.40]) * (0.62 + 0.38 * (skin[:, :1] / 0.98))
    mix = 0.35 + 0.5 * r["lip_tone"][:, None]
    lip = (skin * np.array([0.88, 0.70, 0.68])) * (1 - mix) + red * mix
    wall = tint(r["wall_hue"], r["wall_tone"], 0.14)
    colors = {
        "skin": skin,
        "hair": hair,
        "hair_light": hair * 1.45 + 0.05,
        "brow": hair * 0.55 + skin * 0.10,
        "lip": lip,
        "lip_dark": lip * 0.82,
        "lip_line": lip * 0.36,
        "fold": skin * np.array([0.60, 0.50, 0.46]),
        "lash": skin * 0.08 + 0.03,
        "lid": skin * np.array([0.86, 0.80, 0.79]),
        "nostril": skin * np.array([0.36, 0.25, 0.24]),
        "sclera": np.tile([0.93, 0.92, 0.91], (len(skin), 1)),
        "iris": interpolate_colors(IRIS, r["iris_tone"] * (1 - 0.7 * r["skin_tone"])),
        "cavity": np.tile([0.22, 0.07, 0.08], (len(skin), 1)),
        "teeth": np.tile([0.95, 0.93, 0.88], (len(skin), 1)),
        "tongue": np.tile([0.66, 0.30, 0.31], (len(skin), 1)),
        "shirt": tint(r["shirt_hue"], r["shirt_tone"], 0.45),
        "frame": tint(r["wall_hue"], 0.05 + 0.35 * r["glasses_tone"], 0.2),
        "glint": np.tile([1.0, 1.0, 1.0], (len(skin), 1)),
    }
    lit = {name: np.clip(color * level, 0, 1) for name, color in colors.items()}
    lit["wall"] = wall
    lit["wall_far"] = np.clip(wall + r["wall_slope"][:, None], 0.03, 0.97)
    lit["clutter"] = np.clip(wall + r["clutter_tone"][:, None], 0.03, 0.97)
    return lit


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))
