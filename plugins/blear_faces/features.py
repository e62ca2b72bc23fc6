"""Paints the features that carry the expression, in windows: eyes, brows, glasses, nose, mouth, folds."""

from __future__ import annotations

import torch
from torch import Tensor

from blear_faces.paint import Appearance, Canvas, View, blob, ellipse

EYE_WINDOW, MOUTH_WINDOW = 0.56, 0.64


def paint_features(canvas: Canvas) -> None:
    """Paints nose and mouth, then the eye regions with brows and glasses."""
    k = canvas.appearance
    middle_v = 0.5 * (k["nose_v"] + k["mouth_v"]) + 0.08
    view, index = canvas.window(0.5 * (k["nose_u"] + k["mouth_u"]), middle_v, MOUTH_WINDOW)
    _folds(k, view)
    _nose(k, view)
    _mouth(k, view)
    canvas.put(view, index)
    for side, sign in (("left", -1.0), ("right", 1.0)):
        at_u, at_v = k[f"eye_{side}_u"], k[f"eye_{side}_v"]
        view, index = canvas.window(at_u, at_v - 0.10, EYE_WINDOW)
        x = (view.u - at_u) * sign / k[f"eye_{side}_squeeze"]  # positive outwards, for both eyes
        _eye(k, view, x, view.v - at_v, (view.u - at_u) / k[f"eye_{side}_squeeze"])
        _brow(k, view, x, view.v - at_v)
        _glasses(k, view, x, view.v - at_v)
        canvas.put(view, index)


def _eye(k: Appearance, view: View, x: Tensor, y: Tensor, right: Tensor) -> None:
    width = 0.24 * k["eye_size"]
    y = y - k["eye_slant"] * x / 0.2
    view.shade(1 - 0.13 * blob(x + 0.05, y + 0.06, 0.36, 0.25))  # the socket
    s = x / width
    arc = (1 - s * s).clamp(min=-0.6)
    skew = 1 - 0.18 * s
    upper_height = k["eye_size"] * (0.096 + 0.064 * k["au5"] - 0.034 * k["au7"] - 0.022 * k["au6"] - 0.062 * k["au43"])
    lower_height = k["eye_size"] * (0.060 - 0.034 * k["au7"] - 0.036 * k["au6"] + 0.008 * k["au5"] + 0.008 * k["au43"])
    upper, lower = -upper_height * arc * skew, lower_height * arc
    slope = (1 + 4 * (upper_height / width) * (upper_height / width) * (s * s).clamp(max=1.5)).sqrt()
    aperture = torch.maximum((upper - y) / slope, (y - lower) / slope)
    open_ = view.inside(aperture)
    crease = y - upper + 0.042 + 0.012 * k["au5"] - 0.02 * k["au43"]
    within = view.inside(s.abs() * width - width * 1.05)
    view.blend(view.inside(torch.maximum(upper - 0.05 - y, y - upper)) * within * 0.35, k["lid"])
    view.blend(view.stroke(crease, 0.008) * within * 0.45, k["fold"])
    bag = view.stroke(y - lower - 0.055 + 0.03 * k["au6"], 0.010) * within
    view.blend(bag * (0.10 + 0.25 * k["au6"] + 0.22 * k["au7"]), k["fold"])
    shadow = (0.72 + 0.28 * ((y - upper) / 0.07).clamp(0, 1)).unsqueeze(1)
    view.blend(open_, k["sclera"] * shadow)
    gx, gy = right - 0.045 * k["gaze_x"], y - 0.02 * k["gaze_y"] + 0.012
    disc = (gx * gx + gy * gy + 1e-6).sqrt()
    radius = 0.098 * k["eye_size"]
    view.blend(
        open_ * view.inside(disc - radius), k["iris"] * (0.75 + 0.45 * (disc / radius).clamp(max=1)).unsqueeze(1)
    )
    view.blend(open_ * view.inside(disc - 0.46 * radius), k["lash"])
    view.blend(open_ * view.inside(ellipse(gx - 0.035 * k["lx"] - 0.01, gy + 0.035, 0.026, 0.026)), k["glint"])
    view.blend(view.stroke((y - upper) / slope, 0.017) * within, k["lash"])
    view.blend(view.stroke((y - lower) / slope, 0.008) * within * 0.45, k["fold"])


def _brow(k: Appearance, view: View, x: Tensor, y: Tensor) -> None:
    start = -0.22 - 0.045 * k["au4"]
    t = (x - start) / 0.50
    inner = -0.105 * k["au1"] + 0.105 * k["au4"] + 0.02 * k["au9"]
    outer = -0.115 * k["au2"] + 0.015 * k["au4"] + 0.02 * k["au6"]
    arch = k["brow_arch"] + 0.03 * k["au2"]
    c = t.clamp(-0.2, 1.2)
    middle = k["brow_y"] + 0.20 + inner * (1 - c) + outer * c - 4 * arch * c * (1 - c) + 0.035 * c
    slope = 1 + ((outer - inner) / 0.5).abs() * 0.25
    half = k["brow_thickness"] * (1.05 - 0.62 * c)
    ends = torch.maximum(-t * 0.5, (t - 1) * 0.5)
    band = torch.maximum((y - middle).abs() / slope - half, ends)
    view.blend(view.inside(band) * 0.92, k["brow"])
    frown = view.stroke(x - start + 0.09 + 0.02 * (y + 0.2), 0.010) * view.inside((y + 0.26).abs() - 0.11)
    view.blend(frown * (0.60 * k["au4"]), k["fold"])
    wrinkle = view.stroke(y - k["brow_y"] - 0.05 + 0.10 * k["au1"] + 0.08 * x * x, 0.008) * view.inside(x - 0.2)
    view.blend(wrinkle * (0.28 * torch.maximum(k["au1"], k["au2"]) + 0.08 * k["age"]), k["fold"])
    crow = view.stroke(y - 0.02 - 0.5 * (x - 0.27), 0.007) * view.inside((x - 0.33).abs() - 0.06)
    view.blend(crow * (0.35 * k["au6"] * (0.4 + 0.6 * k["age"])), k["fold"])


def _glasses(k: Appearance, view: View, x: Tensor, y: Tensor) -> None:
    if not bool(k["has_glasses"].any()):
        return
    a, b = (x - 0.01).abs() / 0.33, (y - 0.02).abs() / 0.25
    oval, box = ellipse(x - 0.01, y - 0.02, 0.33, 0.27), 0.26 * (torch.maximum(a, b) - 1) + 0.05 * (a * b)
    rim = torch.where(k["glasses_round"] > 0.5, oval, box)
    view.blend(view.inside(rim) * (0.07 * k["has_glasses"]), k["glint"])
    bridge = torch.maximum((y + 0.02).abs() - 0.018, x + 0.30)
    arm = torch.maximum((y + 0.04).abs() - 0.018, torch.maximum(0.32 - x, x - 0.47))
    line = torch.maximum(view.stroke(rim, 0.018), torch.maximum(view.inside(bridge), view.inside(arm)))
    view.blend(line * k["has_glasses"], k["frame"])


def _nose(k: Appearance, view: View) -> None:
    x, y = view.u - k["nose_u"], view.v - k["nose_v"] + 0.025 * k["au9"]
    width = k["nose_width"] * (1 + 0.12 * k["au9"] + 0.06 * k["au12"]) * k["nose_squeeze"]
    top = ((y + 0.5) / 0.5).clamp(0, 1)
    ridge = 0.06 + 0.06 * top
    span = view.inside((y + 0.22).abs() - 0.24)
    lit = (1 - (x.abs() / ridge)).clamp(min=0) * span
    view.shade(1 + 0.10 * lit)
    side = (1 - ((x + 0.11 * k["lx"] / k["lx"].abs().clamp(min=0.05)).abs() / 0.10)).clamp(min=0) * span
    view.shade(1 - 0.16 * side * (0.3 + k["lx"].abs()))
    view.shade(1 + 0.10 * blob(x - 0.02 * k["lx"], y - 0.0, 0.11, 0.10))
    view.shade(1 - 0.20 * blob(x, y - 0.115, width * 1.35, 0.075))
    for sign in (-1.0, 1.0):
        wing = view.stroke(ellipse(x - sign * width * 0.80, y - 0.035, width * 0.42, 0.085), 0.010)
        view.blend(wing * view.inside(width * 0.85 - x * sign) * 0.50, k["fold"])
        hole = ellipse(x - sign * width * 0.48, y - 0.085 - 0.02 * (x * sign / width), width * 0.30, 0.026)
        view.blend(view.inside(hole) * 0.85, k["nostril"])
        for step in (0.0, 0.075):
            crinkle = view.stroke(y + 0.36 + step + 0.7 * (x * sign), 0.009) * view.inside(
                (x * sign - 0.075).abs() - 0.055
            )
            view.blend(crinkle * (0.55 * k["au9"]), k["fold"])


def _folds(k: Appearance, view: View) -> None:
    """Paints the nasolabial folds, from the wings of the nose around the corners of the mouth."""
    t = ((view.v - k["nose_v"] + 0.02) / (k["mouth_v"] - k["nose_v"] + 0.10)).clamp(-0.3, 1.3)
    strength = 0.06 + 0.14 * k["age"] + 0.42 * torch.maximum(k["au12"], k["au9"]) + 0.2 * k["au10"]
    within = view.inside((t - 0.45).abs() * 0.45 - 0.24)
    reach = 0.22 + 0.05 * k["au12"]
    for sign in (-1.0, 1.0):
        x = (view.u - k["nose_u"] + (k["nose_u"] - k["mouth_u"]) * t) * sign / k["mouth_squeeze"]
        line = x - k["nose_width"] - 0.03 - reach * t * (1.6 - 0.6 * t)
        view.blend(view.stroke(line * 0.8, 0.012) * within * strength.clamp(max=0.62), k["fold"])


def _mouth(k: Appearance, view: View) -> None:
    width = (
        k["mouth_width"]
        * k["mouth_squeeze"]
        * (1 + 0.20 * k["au12"] + 0.18 * k["au20"] - 0.05 * k["au23"] - 0.16 * k["au26"])
    )
    s = (view.u - k["mouth_u"]) / width
    y = view.v - k["mouth_v"] - 0.04 * k["au26"]
    s2 = (s * s).clamp(max=1.7)
    arc = (1 - s2).clamp(min=-0.4)
    lift = 0.160 * k["au12"] - 0.145 * k["au15"] - 0.02 * k["au20"]
    # Zero mean over the mouth: moving its corners does not move the blurred mouth up or down.
    middle = -lift * (1.45 * s2 - 0.48) + 0.008 * k["smirk"] * s
    gap = 0.21 * k["au26"]
    slope = (1 + (2.9 * lift * s / width) * (2.9 * lift * s / width)).sqrt()
    hole_top = middle - (0.28 * gap + 0.045 * k["au10"] * (1 - k["au26"])) * arc.clamp(min=0)
    hole_bottom = middle + (0.72 * gap + 0.012 * k["au20"]) * arc.clamp(min=0)
    full = k["lip_fullness"] * (1 - 0.60 * k["au23"])
    lip_top = hole_top - 0.052 * full * arc * (0.78 + 1.3 * s2) * (1 - 0.25 * k["au12"])
    lip_bottom = hole_bottom + 0.082 * full * arc * (1 - 0.2 * k["au12"])
    view.shade(1 - 0.13 * blob(s * width, y - 0.155 - 0.72 * gap, 0.24, 0.075))  # below the lower lip
    lips = torch.maximum((lip_top - y) / slope, (y - lip_bottom) / slope)
    bulge = (1 - ((y - hole_bottom - 0.04) / 0.05).abs()).clamp(min=0) * (1 - s2).clamp(min=0)
    upper = (y < 0.5 * (hole_top + hole_bottom)).to(y.dtype).unsqueeze(1)
    view.blend(view.inside(lips), k["lip"] * (1 + 0.16 * bulge.unsqueeze(1)) * (1 - upper) + k["lip_dark"] * upper)
    hole = torch.maximum((hole_top - y) / slope, (y - hole_bottom) / slope)
    hole_cover = view.inside(hole) * view.inside(s.abs() * width - 0.96 * width)
    thin = ((hole_bottom - hole_top) * view.scale).clamp(0, 1)  # 0 for closed lips
    view.blend(hole_cover * thin, k["cavity"])
    teeth = torch.maximum(hole_top + 0.012 - y, y - hole_top - 0.085)
    view.blend(view.inside(torch.maximum(hole, teeth)) * view.inside(s.abs() - 0.82) * thin, k["teeth"])
    tongue = ellipse(s * width, y - hole_bottom - 0.02, 0.20, 0.085)
    view.blend(view.inside(torch.maximum(hole, tongue)) * thin * 0.85, k["tongue"])
    parted = (hole_bottom - hole_top) * 8
    seam = view.stroke((y - middle) / slope, 0.025) * view.inside(s.abs() * width - 1.04 * width)
    view.blend(seam * (1 - parted).clamp(0, 1), k["lip_line"])
    for sign in (-1.0, 1.0):
        corner = ellipse(s * width - sign * width * 1.02, y - (-lift * 0.97 + 0.008 * sign * k["smirk"]), 0.040, 0.030)
        view.blend(view.inside(corner) * 0.8, k["lip_line"])
