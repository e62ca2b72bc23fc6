"""Writes docs/robust_faces.png: accuracy of the robust network and of the ordinary one on degraded real faces.

    python docs/make_robust_curve.py FER2013.csv --robust robust-faces --ordinary runs/robust_faces/stages/clean

The ordinary network has the same architecture and recipe, and has seen clean faces only. A curve whose model is not
given is that of robust_faces.json, which holds the numbers beside the picture. Four panels: face size, JPEG quality,
blur, noise. Bands are 95 % intervals of a bootstrap over the faces. With `--thin 2`, every second face of PublicTest,
about three minutes of one CPU core for each curve.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

import blear
from blear.contracts import BuildContext
from blear.job.schema import Evaluate
from blear.models.conditions import check_conditions, read_split
from blear.models.scores import all_scores
from blear.plugin.discovery import load_plugins
from blear.report.drawing import style
from blear.report.theme import arm_color

mpl.use("agg")

OUT = Path(__file__).resolve().parent / "robust_faces.png"
SIDE = 48
SMALL = {"interpolation": "area", "enlarge": "bilinear"}
PANELS: dict[str, dict[str, Any]] = {
    "size of the face, px": {"use": "downscale", "over": {"factor": [1.5, 2, 3, 4, 6, 8]}, **SMALL},
    "JPEG quality": {"use": "codec/jpeg", "over": {"quality": [60, 30, 20, 10, 5]}},
    "blur, sigma in px": {"use": "blur", "over": {"sigma": [0.5, 1, 1.5, 2, 2.5]}},
    "noise, sigma of 255": {"use": "noise", "over": {"sigma": [10, 20, 30, 40, 50]}},
}
"""Label of the axis -> sweep."""
CLEAN_AT = {"size of the face, px": SIDE, "JPEG quality": 100, "blur, sigma in px": 0, "noise, sigma of 255": 0}
"""Where clean faces are drawn; JPEG: as if they had quality 100."""

Curve = list[dict[str, float]]


def main() -> None:
    """Computes the curves and draws them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--ordinary", help="model trained on clean faces, as for `blear.load`")
    parser.add_argument("--robust", help="model trained on degraded faces")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--thin", type=int, default=2, help="test every N-th face")
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    numbers = given.out.with_suffix(".json")
    curves: dict[str, dict[str, Curve]] = json.loads(numbers.read_text()) if numbers.is_file() else {}
    for name, model in (("trained on clean faces", given.ordinary), ("robust-faces", given.robust)):
        if model is not None:
            curves[name] = curve(model, given.csv, given.split, given.thin)
    numbers.write_text(json.dumps(curves, indent=1) + "\n")
    draw(curves).savefig(given.out, dpi=150)


def curve(name: str, csv: Path, split: str, thin: int) -> dict[str, Curve]:
    """Panel -> points of a model, clean faces first."""
    model, catalog = blear.load(name), load_plugins()
    whole = read_split(catalog.get("dataset", "fer/fer2013").build({"source": str(csv)}, BuildContext()), split, model)
    data = replace(whole, frames_NTHWC=whole.frames_NTHWC[::thin], truth_N=whole.truth_N[::thin])
    evaluate = Evaluate.model_validate(
        {
            "clean": True,
            "arms": {"model": {"stage": "model"}},
            "sweep": [{**sweep, "label": label} for label, sweep in PANELS.items()],
        }
    )
    scores = all_scores(check_conditions(model, data, evaluate, catalog), data.truth_N, evaluate, ())
    accuracy = [score for score in scores if score.metric == "accuracy"]
    clean = accuracy[0]
    found: dict[str, Curve] = {}
    for label in PANELS:
        own = [clean, *(score for score in accuracy if score.condition == label)]
        places = [CLEAN_AT[label], *(place(label, score.severity) for score in own[1:])]
        found[label] = [
            {"at": at, "value": score.value, "low": score.low or 0.0, "high": score.high or 0.0, "n": score.n}
            for at, score in zip(places, own, strict=True)
        ]
    return found


def place(label: str, severity: float | None) -> float:
    """Where a severity is drawn: a factor as the size of the face."""
    assert severity is not None
    return SIDE / severity if label.startswith("size") else severity


def draw(curves: dict[str, dict[str, Curve]]) -> Figure:
    """Four panels; each axis goes from clean on the left to the worst faces on the right."""
    with style():
        figure = Figure(figsize=(9.2, 2.7), layout="constrained")
        axes = figure.subplots(1, len(PANELS), sharey=True)
        for axis, label in zip(axes, PANELS, strict=True):
            for number, (name, panels) in enumerate(reversed(curves.items())):
                points, color = panels[label], arm_color(number)
                at = [point["at"] for point in points]
                axis.plot(at, [100 * p["value"] for p in points], color=color, marker="o", markersize=3, label=name)
                low, high = ([100 * point[end] for point in points] for end in ("low", "high"))
                axis.fill_between(at, low, high, color=color, alpha=0.2, linewidth=0)
            axis.axhline(100 / 7, color="#767676", linewidth=0.8, linestyle=":")
            axis.set_xlabel(label)
            if points[0]["at"] > points[-1]["at"]:
                axis.invert_xaxis()
        axes[0].set_ylabel("accuracy, %")
        axes[0].set_ylim(0, 80)
        axes[0].legend(frameon=False, loc="lower left", fontsize=8)
        axes[-1].annotate("chance", (0.02, 100 / 7 + 1.5), xycoords=("axes fraction", "data"), fontsize=7)
    return figure


if __name__ == "__main__":
    main()
