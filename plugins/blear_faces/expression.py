"""Facial expressions: action units, the prototypes of seven emotions, valence and arousal as functions of the units.

The units are those of the Facial Action Coding System (Ekman, Friesen 1978), with intensities from 0 (absent) to 1 (the
strongest that is drawn). The prototypes follow EMFACS. The order of the classes is that of FER2013.
"""

from __future__ import annotations

import numpy as np

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")

UNITS = {
    "au1": "inner brow raised",
    "au2": "outer brow raised",
    "au4": "brows lowered and drawn together",
    "au5": "upper lid raised",
    "au6": "cheeks raised",
    "au7": "lids tightened",
    "au9": "nose wrinkled",
    "au10": "upper lip raised",
    "au12": "mouth corners pulled up",
    "au15": "mouth corners pulled down",
    "au20": "lips stretched",
    "au23": "lips tightened",
    "au43": "upper lids drooping",
}
"""Name -> meaning of the units that determine the labels. AU25/26, the open mouth, is drawn separately (`JAW_BIAS`)."""

PROTOTYPES: dict[str, dict[str, float]] = {
    "angry": {"au4": 0.95, "au5": 0.45, "au7": 0.6, "au15": 0.25, "au23": 0.8},
    "disgust": {"au4": 0.4, "au7": 0.5, "au9": 0.95, "au10": 0.85, "au15": 0.5},
    "fear": {"au1": 0.9, "au2": 0.45, "au4": 0.4, "au5": 0.85, "au20": 0.9},
    "happy": {"au6": 0.75, "au12": 0.95},
    "sad": {"au1": 0.9, "au4": 0.4, "au15": 0.9, "au43": 0.5},
    "surprise": {"au1": 0.85, "au2": 0.95, "au5": 0.95},
    "neutral": {},
}

JAW_BIAS = {"angry": 0.1, "disgust": 0.15, "fear": 0.3, "happy": 0.15, "sad": 0.0, "surprise": 0.55, "neutral": 0.0}
"""Mouth opening due to the emotion; the rest of the opening is speech, which is independent of the emotion."""

VALENCE = {"au12": 1.0, "au6": 0.3, "au15": -0.8, "au4": -0.5, "au9": -0.35, "au20": -0.3, "au10": -0.1}
AROUSAL = {"au5": 0.9, "au2": 0.4, "au4": 0.4, "au12": 0.35, "au9": 0.4, "au20": 0.35, "au23": 0.3, "au43": -0.9}
AROUSAL_AT_REST = -0.3

Units = dict[str, np.ndarray]


def draw_units(emotion_N: np.ndarray, strength_N: np.ndarray, gain_NU: np.ndarray, stray_NU: np.ndarray) -> Units:
    """Unit intensities in [0, 1], each [N].

    Args:
        emotion_N: class index into `EMOTIONS`.
        strength_N: intensity of the prototype, in [0, 1].
        gain_NU: uniform draws; scale each unit of the prototype by 0.65 to 1.35.
        stray_NU: uniform draws; raise a third of all units by up to 0.3.
    """
    prototypes_EU = np.array([[PROTOTYPES[e].get(u, 0.0) for u in UNITS] for e in EMOTIONS])
    stray = 0.3 * np.clip((stray_NU - 2 / 3) * 3, 0, 1)
    units_NU = np.clip(prototypes_EU[emotion_N] * strength_N[:, None] * (0.65 + 0.7 * gain_NU) + stray, 0, 1)
    return {name: units_NU[:, i] for i, name in enumerate(UNITS)}


def valence(units: Units) -> np.ndarray:
    """Valence in [-1, 1], [N]: tanh of 1.5 times the sum of the units weighted by `VALENCE`; 0 for a face at rest."""
    return np.tanh(1.5 * sum(weight * units[name] for name, weight in VALENCE.items()))


def arousal(units: Units) -> np.ndarray:
    """Arousal in [-1, 1], [N]: tanh of 1.2 times (the sum of the units weighted by `AROUSAL`, minus 0.3)."""
    return np.tanh(1.2 * (AROUSAL_AT_REST + sum(weight * units[name] for name, weight in AROUSAL.items())))


def envelope(apex_N: np.ndarray, start_N: np.ndarray, end_N: np.ndarray, frames: int) -> np.ndarray:
    """Intensity of the expression in each frame as a share of its apex, [N, T]: cubic onset and offset.

    Args:
        apex_N: uniform draws; they place the apex, with share 1, in the middle third of the clip.
        start_N, end_N: share in the first and in the last frame.
        frames: number of frames T.
    """
    if frames == 1:
        return np.ones((len(apex_N), 1))
    apex = np.floor((frames - 1) * (1 / 3 + apex_N / 3) + 0.5)[:, None]
    t = np.arange(frames)[None, :]
    before = np.clip(t / np.maximum(apex, 1), 0, 1)
    after = np.clip((frames - 1 - t) / np.maximum(frames - 1 - apex, 1), 0, 1)
    rise, fall = (x * x * (3 - 2 * x) for x in (before, after))
    onset = start_N[:, None] + (1 - start_N[:, None]) * rise
    offset = end_N[:, None] + (1 - end_N[:, None]) * fall
    return np.where(t == apex, 1.0, np.where(t < apex, onset, offset))
