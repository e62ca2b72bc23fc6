"""The random numbers of the faces: tables of identities, recordings and samples.

Every number is a counter-based draw with the key (seed, table, split, index), so a row does not depend on the batch or
the part in which it is drawn. Lengths are in face units (1 is about half the width of a face), angles in radians.
"""

from __future__ import annotations

import numpy as np

from blear.contracts import DrawKeys
from blear_faces import expression
from blear_faces.expression import EMOTIONS, UNITS

Rows = dict[str, np.ndarray]
Ranges = dict[str, tuple[float, float]]

IDENTITY: Ranges = {
    "face_width": (0.88, 1.04),
    "face_height": (1.17, 1.32),
    "jaw": (0.10, 0.34),
    "skin_tone": (0, 1),
    "skin_warmth": (-1, 1),
    "hair_style": (0, 1),
    "hair_tone": (0, 1),
    "hair_volume": (0.10, 0.24),
    "hairline": (-0.86, -0.70),
    "hair_part": (-0.30, 0.30),
    "glasses": (0, 1),
    "glasses_round": (0, 1),
    "glasses_tone": (0, 1),
    "beard": (0, 1),
    "brow_thickness": (0.030, 0.052),
    "brow_arch": (0.02, 0.07),
    "brow_y": (-0.50, -0.44),
    "eye_size": (0.90, 1.12),
    "eye_x": (0.40, 0.46),
    "eye_slant": (-0.03, 0.02),
    "iris_tone": (0, 1),
    "nose_width": (0.13, 0.20),
    "nose_y": (0.27, 0.36),
    "mouth_width": (0.38, 0.46),
    "mouth_y": (0.68, 0.74),
    "lip_fullness": (0.75, 1.3),
    "lip_tone": (0, 1),
    "age": (0, 1),
}
RECORDING: Ranges = {
    "light_x": (-0.45, 0.45),
    "light_y": (-0.6, 0.0),
    "light_strength": (0.25, 0.60),
    "exposure": (0.92, 1.06),
    "wall_hue": (0, 1),
    "wall_tone": (0.3, 0.7),
    "wall_slope": (-0.3, 0.3),
    "clutter_x": (0, 1),
    "clutter_y": (0, 1),
    "clutter_tone": (-0.25, 0.25),
    "shirt_hue": (0, 1),
    "shirt_tone": (0.15, 0.8),
    "usual_yaw": (-0.06, 0.06),
    "usual_pitch": (-0.025, 0.025),
    "usual_scale": (0.975, 1.025),
}
SAMPLE: Ranges = {
    "emotion": (0, len(EMOTIONS)),
    "strength": (0.55, 1.0),
    "yaw_offset": (-0.05, 0.05),
    "pitch_offset": (-0.025, 0.025),
    "roll": (-0.04, 0.04),
    "scale_offset": (-0.015, 0.015),
    "shift_x": (-0.01, 0.01),
    "shift_y": (-0.01, 0.01),
    "gaze_x": (-1, 1),
    "gaze_y": (-0.6, 0.6),
    "speech": (0, 1),
    "smirk": (-1, 1),
    "flicker": (0.96, 1.04),
    "grain_x": (0, 1),
    "grain_y": (0, 1),
    "apex": (0, 1),
    "start": (0, 0.3),
    "end": (0, 0.6),
    "sway_yaw": (-0.06, 0.06),
    "sway_roll": (-0.03, 0.03),
    "speech_phase": (0, 1),
    "speech_rate": (1.5, 4.0),
    **{f"gain_{unit}": (0, 1) for unit in UNITS},
    **{f"stray_{unit}": (0, 1) for unit in UNITS},
}
TABLES = {"identity": IDENTITY, "recording": RECORDING, "sample": SAMPLE}


def draw(table: str, seed: int, split: int, index_N: np.ndarray) -> Rows:
    """Rows `index_N` of one table of a split.

    Returns:
        Column name -> float64 [N].
    """
    ranges = TABLES[table]
    keys = DrawKeys(seed, list(TABLES).index(table), np.full_like(index_N, split), index_N)
    uniform_NF = keys.uniform(len(ranges))
    return {name: low + (high - low) * uniform_NF[:, i] for i, (name, (low, high)) in enumerate(ranges.items())}


def population(
    seed: int, split: int, subject_N: np.ndarray, number_N: np.ndarray, per_subject: int, recordings: int
) -> Rows:
    """The draws of N samples: the row of each sample, joined with the rows of its recording and its identity.

    Args:
        split: index of the split.
        subject_N: identity of each sample.
        number_N: number of each sample within its identity.
        per_subject: samples of an identity.
        recordings: recordings of an identity.

    Returns:
        Column name -> float64 [N]; the column `recording` is the number of the recording within the identity.
    """
    recording_N = number_N * recordings // per_subject
    rows = draw("identity", seed, split, subject_N)
    rows |= draw("recording", seed, split, subject_N * recordings + recording_N)
    rows |= draw("sample", seed, split, subject_N * per_subject + number_N)
    rows["emotion"] = np.floor(rows["emotion"])
    rows["recording"] = recording_N.astype(np.float64)
    return rows


def units_at_apex(rows: Rows) -> expression.Units:
    """The action units of each sample at the apex of its expression."""
    gain, stray = (np.stack([rows[f"{kind}_{unit}"] for unit in UNITS], axis=1) for kind in ("gain", "stray"))
    return expression.draw_units(rows["emotion"].astype(np.int64), rows["strength"], gain, stray)


def frames_of(rows: Rows, frames: int, fps: float) -> Rows:
    """One row for each frame: the draws of its sample, its action units, open mouth (`au26`) and head pose.

    Args:
        rows: draws of N samples, from `population`.
        frames: frames T of a sample.
        fps: frames per second.

    Returns:
        Column name -> [N x T], the frames of a sample in succession.
    """
    n = len(rows["emotion"])
    shares_NT = expression.envelope(rows["apex"], rows["start"], rows["end"], frames)
    seconds_T = np.arange(frames) / fps
    each = {name: np.repeat(column, frames) for name, column in rows.items()}
    for name, column in units_at_apex(rows).items():
        each[name] = (column[:, None] * shares_NT).reshape(-1)
    bias_E = np.array([expression.JAW_BIAS[name] for name in EMOTIONS])
    bias_N = bias_E[rows["emotion"].astype(np.int64)] * rows["strength"]
    turns_NT = rows["speech_phase"][:, None] + rows["speech_rate"][:, None] * seconds_T
    wave_NT = np.abs(2 * (turns_NT - np.floor(turns_NT)) - 1)  # triangle wave, 1 at the start of a syllable
    still = frames == 1
    speech_NT = rows["speech"][:, None] ** 1.5 * (1.0 if still else wave_NT)
    each["au26"] = np.clip(0.75 * speech_NT + bias_N[:, None] * shares_NT, 0, 1).reshape(-1)
    drift_T = np.zeros(1) if still else np.sin(np.linspace(-np.pi / 2, np.pi / 2, frames))
    drift = np.tile(drift_T, n)
    each["yaw"] = each["usual_yaw"] + each["yaw_offset"] + each["sway_yaw"] * drift
    each["pitch"] = each["usual_pitch"] + each["pitch_offset"]
    each["roll"] = each["roll"] + each["sway_roll"] * drift
    each["scale"] = each["usual_scale"] + each["scale_offset"]
    return each
