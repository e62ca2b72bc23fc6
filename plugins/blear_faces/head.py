"""Paints the large parts: wall, back hair, neck, ears, shaded head, beard, front hair."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor

from blear_faces.paint import Appearance, Canvas, View, blob, ellipse

GRAIN = 256


@functools.cache
def grain() -> tuple[Tensor, Tensor]:
    """Two fixed noise tiles [256, 256] with values of about -1..1: skin grain, and vertical strands of hair."""
    rng = np.random.Generator(np.random.Philox(20131))
    fine = rng.uniform(-1, 1, (GRAIN, GRAIN))
    strands = np.sum([np.roll(fine, shift, axis=0) for shift in range(9)], axis=0) / 3
    return torch.from_numpy(fine.astype(np.float32)), torch.from_numpy(strands.astype(np.float32))


def texture(tile: Tensor, k: Appearance, size: int) -> Tensor:
    """Crops of a noise tile [N, size, size], at the position drawn for each face."""
    span = torch.arange(size)
    rows = ((k["grain_y"] * GRAIN).long() + span[None, :, None]) % GRAIN
    columns = ((k["grain_x"] * GRAIN).long() + span[None, None, :]) % GRAIN
    return tile[rows, columns]


def paint_head(canvas: Canvas) -> None:
    """Paints everything except the features, from back to front."""
    k, view = canvas.appearance, canvas.view()
    fine, strands = (texture(tile, k, canvas.size) for tile in grain())
    u, v = (
        view.u - 0.10 * k["turn"],
        view.v,
    )  # the outline of the skull moves less than the features when the head turns
    _wall(canvas, view)
    hair_outside = _hair_outline(k, u, v)
    hair = _hair_color(k, u, v, strands)
    _hair_behind(canvas, view, u, v, hair_outside, hair)
    _body(canvas, view)
    head = _head_outline(k, u, v)
    _ears(canvas, view, u, v)
    skin = _skin_shade(k, u, v, fine)
    view.blend(view.inside(head), k["skin"] * skin.unsqueeze(1))
    _beard(canvas, view, u, v, head, strands)
    _hair_front(canvas, view, u, v, head, hair_outside, hair)


def _wall(canvas: Canvas, view: View) -> None:
    k = canvas.appearance
    down = ((torch.arange(canvas.size) + 0.5) / canvas.size)[None, :, None].expand(len(canvas.image), -1, canvas.size)
    across = down.transpose(1, 2)
    canvas.image.copy_(k["wall"] + (k["wall_far"] - k["wall"]) * (0.7 * down + 0.3 * across).unsqueeze(1))
    view.blend(blob(across - k["clutter_x"], down - k["clutter_y"], 0.35, 0.45), k["clutter"])


def _head_outline(k: Appearance, u: Tensor, v: Tensor) -> Tensor:
    low = v.clamp(min=0) / k["face_height"]
    width = k["face_width"] * (1 - k["jaw"] * low * low)
    return ellipse(u, v, width, k["face_height"] - 0.04 * (v < 0) + 0.03 * k["au26"] * (v > 0))


def _hair_outline(k: Appearance, u: Tensor, v: Tensor) -> Tensor:
    volume = k["hair_volume"]
    return ellipse(u, v + 0.16, k["face_width"] + volume * 0.85, k["face_height"] - 0.14 + volume)


def _hair_color(k: Appearance, u: Tensor, v: Tensor, strands: Tensor) -> Tensor:
    gloss = blob(u - 0.6 * k["lx"], v + 0.95, 0.75, 0.42) * 0.45
    mix = (gloss + 0.16 * strands).clamp(-0.2, 0.8).unsqueeze(1)
    falloff = (1 + 0.16 * (u * k["lx"] - v * 0.25)).unsqueeze(1)
    return (k["hair"] + (k["hair_light"] - k["hair"]) * mix) * falloff


def _hair_behind(canvas: Canvas, view: View, u: Tensor, v: Tensor, outside: Tensor, hair: Tensor) -> None:
    k = canvas.appearance
    width = k["face_width"] + k["hair_volume"] * (0.9 + 0.35 * v.clamp(0, 1.5))
    fall = torch.maximum(torch.maximum(u.abs() - width, v - 1.55), -v - 0.2)
    behind = torch.where(k["long"] > 0, torch.minimum(outside, fall), outside.clamp(min=-1) + 2 * (v > 0.05))
    view.blend(view.inside(behind) * (1 - k["bald"]), hair * 0.78)


def _body(canvas: Canvas, view: View) -> None:
    k, u, v = canvas.appearance, view.u, view.v
    neck = torch.maximum(u.abs() - 0.56 - 0.10 * (v - 1).clamp(min=0), 0.7 - v)
    dusk = 0.62 + 0.16 * (v - 1.2).clamp(0, 1) + 0.10 * u * k["lx"]
    view.blend(view.inside(neck), k["skin"] * dusk.unsqueeze(1))
    below = (v - 2.45).clamp(max=0)  # the trunk goes on below the shoulders
    chest = torch.maximum(ellipse(u, below, 1.75, 1.02), -ellipse(u, v - 1.30, 0.50, 0.42))
    view.blend(view.inside(chest), k["shirt"] * (0.85 + 0.2 * u * k["lx"]).unsqueeze(1))


def _ears(canvas: Canvas, view: View, u: Tensor, v: Tensor) -> None:
    k = canvas.appearance
    for sign in (-1.0, 1.0):
        x, y = u * sign - k["face_width"] + 0.03 + 0.12 * k["turn"] * sign, v - 0.02
        shade = 0.80 + 0.12 * sign * k["lx"] - 0.22 * blob(x + 0.01, y, 0.08, 0.17)
        view.blend(view.inside(ellipse(x, y, 0.13, 0.25)), k["skin"] * shade.unsqueeze(1))


def _skin_shade(k: Appearance, u: Tensor, v: Tensor, fine: Tensor) -> Tensor:
    x, y = u / (k["face_width"] * 1.12), v / (k["face_height"] * 1.15)
    z = (1 - x * x - y * y).clamp(min=0.02).sqrt()
    lambert = (x * k["lx"] + y * k["ly"] + z * k["lz"]).clamp(min=0)
    shade = k["ambient"] + (1.06 - k["ambient"]) * lambert + 0.011 * fine
    raised = 0.06 + 0.05 * k["au6"]
    for side, sign in (("left", -1.0), ("right", 1.0)):
        cheek_u, cheek_v = k[f"eye_{side}_u"] + 0.06 * sign, k["nose_v"] + 0.02 - 0.05 * k["au6"]
        shade = shade + raised * blob(u - cheek_u, v - cheek_v, 0.34, 0.26)
    return shade + 0.05 * blob(u - k["nose_u"], v + 0.62, 0.6, 0.3)


def _beard(canvas: Canvas, view: View, u: Tensor, v: Tensor, head: Tensor, strands: Tensor) -> None:
    k = canvas.appearance
    beard, moustache, stubble = k["has_beard"], k["has_moustache"], k["has_stubble"]
    if not bool((beard + moustache + stubble).any()):
        return
    du, dv = u - 0.7 * k["mouth_u"], v - k["mouth_v"]
    line = ellipse(du, dv + 0.42, 0.74, 0.62)
    jaw = torch.maximum(torch.maximum(head, -line), -0.28 - dv)
    lip = torch.maximum(ellipse(du, dv + 0.13, 0.40, 0.12), dv + 0.06)
    soft = (0.5 - jaw * 5).clamp(0, 1)
    hair = k["brow"] * (1 + 0.22 * strands).unsqueeze(1)
    view.blend(soft * (0.92 * beard + 0.26 * stubble), hair)
    view.blend((0.5 - lip * 8).clamp(0, 1) * (0.9 * torch.maximum(moustache, beard) + 0.2 * stubble), hair)


def _hair_front(canvas: Canvas, view: View, u: Tensor, v: Tensor, head: Tensor, outside: Tensor, hair: Tensor) -> None:
    k = canvas.appearance
    x = u / k["face_width"]
    parted = x - k["hair_part"]
    x2 = x * x
    temple = torch.where(k["long"] > 0, 2.3 * x2 * x2 * x2, 0.42 * x2 * x2)
    swept = torch.where(k["fringe"] > 0, 0.20 - 0.10 * parted, 0.16 * parted.abs())
    line = k["hairline"] + temple + swept + 0.03 * k["turn"]
    edge = (v - line) * 0.8
    shadow = (1 - (v - line - 0.01).clamp(min=0) / 0.16).clamp(min=0) * view.inside(head) * (v > line)
    view.shade(1 - 0.22 * shadow * (1 - k["bald"]))
    cover = torch.maximum(outside, edge)
    view.blend(view.inside(cover) * (1 - k["bald"]), hair)
