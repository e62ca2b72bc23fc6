"""Writes docs/degradations.md and its pictures: every degradation at every level. Run: `make docs`.

The pictures and numbers are of procedural faces, the same on every machine. With words only the degradations whose name
holds one are drawn and measured again; the rest keeps its numbers. `--check` says whether the page is current.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from blear.contracts import BuildContext, ClipSpec, DrawKeys
from blear.plugin.catalog import RegisteredComponent
from blear.plugin.discovery import load_plugins
from blear_corruptions.imagenet_c.operation import Corruption
from blear_corruptions.imagenet_c.tables import UNITS
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams, Subjects
from blear_kornia.params import LEFT_OUT

HERE = Path(__file__).resolve().parent
PAGE, PICTURES = HERE / "degradations.md", HERE / "degradations"
SIZE, FACES, SHOWN, LABEL, GAP = 96, 8, 2, 16, 2
CLIP = ClipSpec(1, 3, SIZE, SIZE)
DRAWN = 5
"""How many draws are shown of what has no levels."""

INTRODUCTION = f"""# Degradations

Made by `make docs`. Every degradation at every level that an evaluation sweeps by default, on procedural faces of
{SIZE} x {SIZE} pixels: the clean face, then the levels, mildest first. Of what has no levels {DRAWN} draws are shown.

*PSNR* is the mean over {FACES} faces, of values in [0, 1]. *Gradient*: whether one flows back to the clean frames.
*Varies*: whether equal frames of a clip are changed alike (`clip`) or each in its own way (`frame`); where a parameter
`per` chooses, it says so. Parameters and their units: `blear plugins show NAME`.

Where real JPEG and the differentiable one differ: `corruptions/jpeg_compression` and the recipes code on the device
and keep a little of what libjpeg rounds away, so that gradients flow; `codec/jpeg` is libjpeg itself, and `codec/*` are
real video codecs. Evaluate with those, train through the others.
"""


@dataclass(frozen=True)
class Entry:
    """One degradation with the parameters that it cannot do without."""

    component: RegisteredComponent
    base: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The full name, and what is chosen of it."""
        chosen = [str(self.base[name]) for name in _choices(self.component)]
        return " ".join([self.component.name, *chosen])

    @property
    def file(self) -> str:
        """Name of the picture."""
        return re.sub(r"\W+", "_", self.title) + ".webp"

    def levels(self) -> list[dict[str, Any]]:
        """Parameters of each level, with the base; empty without levels."""
        built = self.component.build(self.base, BuildContext(clip=CLIP))
        return [dict(self.base) | dict(level) for level in built.levels()]


@dataclass(frozen=True)
class Measured:
    """What the page says that only running tells."""

    gradient: str
    varies: str
    psnr: tuple[str, ...]


def entries() -> list[Entry]:
    """All registered degradations, by name; one that has to be told what to do once for each thing it can do."""
    found = []
    for _, component in sorted(load_plugins().components["degradation"].items()):
        choices = _choices(component)
        if not choices:
            found.append(Entry(component, _least(component)))
            continue
        (name, values), *_ = choices.items()
        found += [Entry(component, {name: value}) for value in values]
    return found


def _least(component: RegisteredComponent) -> Mapping[str, Any]:
    """The defaults where they are an example with levels, or else the first example."""
    examples = component.component.examples
    return {} if {} in examples and Entry(component, {}).levels() else examples[0]


def _choices(component: RegisteredComponent) -> dict[str, tuple[Any, ...]]:
    """Parameters that must be given and have a fixed set of values."""
    fields = component.component.params.model_fields
    return {
        name: get_args(field.annotation)
        for name, field in fields.items()
        if field.is_required() and get_origin(field.annotation) is Literal
    }


def faces(length: int = 1) -> Tensor:
    """Float32 [FACES, length, 3, SIZE, SIZE]."""
    params = ProceduralParams(size=SIZE, subjects=Subjects(train=FACES, dev=1), per_subject=1, frames=length)
    dataset = ProceduralFaces(params, BuildContext(seed=3))
    pictures = [s.frames for part in dataset.parts("train") for s in dataset.samples("train", part)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255


def applied(entry: Entry, params: Mapping[str, Any], clips: Tensor) -> Tensor:
    """What the operation makes of the clips."""
    context = BuildContext(clip=ClipSpec(*clips.shape[1:]))
    operation = entry.component.build(params, context)
    count = len(clips)
    return operation.apply(clips, operation.draw(DrawKeys(3, 1, np.zeros(count, np.int64), np.arange(count))))


def psnr(entry: Entry, params: Mapping[str, Any], clean: Tensor) -> str:
    """Mean PSNR in dB; empty where the shape changes, "equal" where nothing does."""
    out = applied(entry, params, clean)
    if out.shape[-3:] != clean.shape[-3:]:
        return ""
    error = (out - clean).double().square().mean(dim=(1, 2, 3, 4))
    return f"{(-10 * error.clamp(min=1e-9).log10()).mean().item():.1f}" if float(error.max()) > 1e-9 else "equal"


def measure(entry: Entry) -> Measured:
    """Gradient, what varies, and the PSNR of every level."""
    levels = entry.levels()
    middle = levels[len(levels) // 2] if levels else entry.base
    still = faces()[:2]
    clips = still.clone().requires_grad_()
    out = applied(entry, middle, clips)
    flows = out.requires_grad
    if flows:
        (out * torch.linspace(0.5, 1, out.shape[-1])).sum().backward()
        flows = bool((clips.grad if clips.grad is not None else torch.zeros(1)).abs().sum() > 0)
    repeated = applied(entry, middle, still.expand(-1, 3, -1, -1, -1))
    alike = torch.allclose(repeated, repeated[:, :1].expand_as(repeated), atol=1e-5)
    per = "per" in entry.component.component.params.model_fields
    varies = ("clip" if alike else "frame") + (", `per`" if per else "")
    return Measured("yes" if flows else "no", varies, tuple(psnr(entry, level, faces()) for level in levels))


def picture(entry: Entry) -> None:
    """Writes the contact sheet: faces in rows, levels in columns; of a clip made of a still, levels in rows."""
    clean = faces()[:SHOWN]
    levels = entry.levels()
    labels = [_short(level, entry.base) for level in levels] or [str(number + 1) for number in range(DRAWN)]
    if levels:
        shown = [applied(entry, level, clean) for level in levels]
    else:
        many = clean.repeat_interleave(DRAWN, dim=0)
        shown = list(applied(entry, entry.base, many).unflatten(0, (SHOWN, DRAWN)).unbind(dim=1))
    if shown[0].shape[1] > 1:
        places = np.linspace(0, shown[0].shape[1] - 1, 7).round().astype(int)
        rows = [[_tile(clip[0, place]) for place in places] for clip in shown]
        sheet = _sheet(rows, [f"frame {place}" for place in places], labels)
    else:
        columns = [clean, *shown]
        rows = [[_tile(column[face, 0]) for column in columns] for face in range(SHOWN)]
        sheet = _sheet(rows, ["clean", *labels], [""] * SHOWN)
    PICTURES.mkdir(exist_ok=True)
    Image.fromarray(sheet).save(PICTURES / entry.file, "WEBP", quality=75, method=6)


def _tile(frame_CHW: Tensor) -> np.ndarray:
    """Uint8 [SIZE, SIZE, 3]; frames of another size in the upper left corner, larger ones made smaller."""
    pixels = (frame_CHW.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    pixels = np.ascontiguousarray(pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels)
    scale = min(1.0, SIZE / max(pixels.shape[:2]))
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    tile = np.full((SIZE, SIZE, 3), 255, np.uint8)
    tile[: pixels.shape[0], : pixels.shape[1]] = pixels
    return tile


def _sheet(rows: Sequence[Sequence[np.ndarray]], above: Sequence[str], beside: Sequence[str]) -> np.ndarray:
    left = 60 if any(beside) else GAP
    step = SIZE + GAP
    sheet = np.full((LABEL + len(rows) * step, left + len(rows[0]) * step, 3), 255, np.uint8)
    font = (cv2.FONT_HERSHEY_SIMPLEX, 0.33, (40, 40, 40), 1, cv2.LINE_AA)
    for column, label in enumerate(above):
        cv2.putText(sheet, label[:18], (left + column * step + 2, 11), *font)
    for row, (tiles, label) in enumerate(zip(rows, beside, strict=True)):
        cv2.putText(sheet, label[:10], (2, LABEL + row * step + SIZE // 2), *font)
        for column, tile in enumerate(tiles):
            y, x = LABEL + row * step, left + column * step
            sheet[y : y + SIZE, x : x + SIZE] = tile
    return sheet


def _short(level: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """A level in a few letters: what it sets beyond the base."""
    own = {name: value for name, value in level.items() if base.get(name) != value}
    return ", ".join(_value(value) for value in own.values() if not isinstance(value, str)) or "level"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else json.dumps(value, separators=(",", ":"))


def page(measured: Mapping[str, Measured]) -> str:
    """The whole page; what was not measured is left empty."""
    found = entries()
    lines = [INTRODUCTION, _beside_kornia(), _left_out()]
    plugin = ""
    for entry in found:
        if entry.component.plugin.name != plugin:
            plugin = entry.component.plugin.name
            lines.append(f"## {plugin}\n")
        lines.append(_section(entry, measured.get(entry.title)))
    return "\n".join(lines)


def _beside_kornia() -> str:
    """The table of docs/make_kornia_comparison.py."""
    rows = json.loads((HERE / "kornia_comparison.json").read_text())
    sizes = list(next(iter(rows.values()))["ms"])
    columns = ["operation", "kornia", "largest difference", *sizes, "verdict"]
    lines = [
        "## Operations that kornia has too\n",
        "Made by `python docs/make_kornia_comparison.py`: the largest difference of values in [0, 1] at 96 px, and the "
        "milliseconds of ours and of kornia's function for 32 RGB images, by size and threads (CPU time on one thread, "
        "wall time on two; arms in turns). A replaced operation is measured by its former formula.\n",
        f"| {' | '.join(columns)} |",
        f"|{' --- |' * len(columns)}",
    ]
    for name, row in rows.items():
        times = [f"{ours:.2g} / {theirs:.2g}" for ours, theirs in row["ms"].values()]
        lines.append(
            f"| {name} | `{row['kornia']}` | {row['difference']:.1g} | {' | '.join(times)} | {row['verdict']} |"
        )
    return "\n".join([*lines, ""])


def _left_out() -> str:
    """The classes of kornia that are no component."""
    rows = [f"| `{name}` | {reason} |" for name, reason in LEFT_OUT.items()]
    head = [
        "## Classes of kornia.augmentation that are left out\n",
        "All other 2-D classes are components by their own names: `kornia/RandomMotionBlur`. A draw belongs to a clip: "
        "`same_on_batch`, `p_batch` and `keepdim` are no parameters.\n",
        "| class | reason |",
        "| --- | --- |",
    ]
    return "\n".join([*head, *rows, ""])


def _section(entry: Entry, measured: Measured | None) -> str:
    levels = entry.levels()
    known = measured or Measured("", "", ("",) * len(levels))
    base = f" with `{json.dumps(dict(entry.base))}`" if entry.base and not _choices(entry.component) else ""
    lines = [
        f"### {entry.title}\n",
        f"{entry.component.component.summary}{base}. Gradient: {known.gradient}. Varies: {known.varies}.\n",
        f"![{entry.title}](degradations/{entry.file})\n",
    ]
    if not levels:
        return "\n".join(lines)
    fields = entry.component.component.params.model_fields
    swept = [name for name in levels[0] if any(level.get(name) != levels[0].get(name) for level in levels)]
    units = [f"`{name}`: {fields[name].description}" for name in swept if name in fields]
    numbers = [_numbers(entry, level) for level in levels]
    columns = [*swept, "PSNR, dB", *(["numbers"] if any(numbers) else [])]
    lines += [*(f"{unit}\n" for unit in units), *([f"Numbers: {_unit(entry)}.\n"] if any(numbers) else [])]
    lines += [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    psnrs = known.psnr if len(known.psnr) == len(levels) else ("",) * len(levels)
    for level, value, number in zip(levels, psnrs, numbers, strict=True):
        cells = [*(_value(level.get(name)) for name in swept), value, *([number] if any(numbers) else [])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _numbers(entry: Entry, level: Mapping[str, Any]) -> str:
    """Of a corruption with a table: its row at this size."""
    built = entry.component.build(level, BuildContext(clip=CLIP))
    if not isinstance(built, Corruption) or _unit(entry) == "":
        return ""
    return ", ".join(f"{value:.4g}" for value in built.operation_for(SIZE, SIZE).rows_KP[0])


def _unit(entry: Entry) -> str:
    return UNITS.get(entry.component.name.split("/")[-1], "")


def read(text: str) -> dict[str, Measured]:
    """What a page says was measured, by title."""
    found = {}
    for section in text.split("\n### ")[1:]:
        title, rest = section.split("\n", 1)
        facts = re.search(r"Gradient: (\w*)\. Varies: ([^.]*)\.", rest)
        rows = [line.strip("| \n").split(" | ") for line in rest.splitlines() if re.match(r"\| (?!---)", line)]
        place = rows[0].index("PSNR, dB") if rows else 0
        if facts is not None:
            found[title] = Measured(facts[1], facts[2], tuple(row[place].strip() for row in rows[1:]))
    return found


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of the names of what is measured again; none: everything")
    parser.add_argument("--missing", action="store_true", help="measure only what the page and its pictures lack")
    parser.add_argument("--check", action="store_true", help="change nothing, exit with 1 where the page is stale")
    options = parser.parse_args()
    text = PAGE.read_text() if PAGE.is_file() else ""
    measured, found = read(text), entries()
    if options.check:
        return 0 if text == page(measured) and all((PICTURES / entry.file).is_file() for entry in found) else 1
    for entry in found:
        known = measured.get(entry.title)
        lacking = known is None or len(known.psnr) != len(entry.levels()) or not (PICTURES / entry.file).is_file()
        named = any(word in entry.title for word in options.words)
        if lacking or named or not (options.words or options.missing):
            sys.stdout.write(f"{entry.title}\n")
            sys.stdout.flush()
            measured[entry.title] = measure(entry)
            picture(entry)
    PAGE.write_text(page(measured))
    for stale in set(PICTURES.glob("*")) - {PICTURES / entry.file for entry in found}:
        stale.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
