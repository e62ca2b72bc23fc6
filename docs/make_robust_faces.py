# ruff: noqa: E501
"""Writes the shipped model `robust-faces`: weights, card.json with its results, card.md.

    python docs/make_robust_faces.py RUN FER2013.csv [--stage STAGE] [--split dev] [--conditions FILE]

RUN is the folder of a run of jobs/robust_faces.yaml. The split is tested once, under the conditions of the model's
test.yaml, or `--results FILE` is the output of `blear models test FOLDER FER2013.csv --out FILE` on the same weights.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

import blear
from blear.contracts import BuildContext
from blear.models.conditions import MEAN, Accuracy, Labelled, check_conditions, markdown, read_conditions, read_split
from blear.models.model import Model
from blear.plugin.discovery import load_plugins

FOLDER = Path(__file__).resolve().parents[1] / "plugins" / "blear_robust" / "models" / "robust-faces"
SUMMARY = "Seven emotions of a face of 48 x 48 grey pixels: clean, small, blurred, compressed or noisy"
TERMS = (
    "Trained on FER2013 (Goodfellow et al. 2013): pictures from the web, collected for a Kaggle challenge, without a "
    "licence of their owners. The weights hold no picture. The rights that the authors of blear have in the weights are granted under "
    "Apache-2.0; they have none in the pictures, and grant none. For research and evaluation."
)
LIMITS = """## What it must not be used for

- Decisions about people: hiring, teaching, policing, borders, insurance, health, access. An expression is not a feeling.
- Inference of emotions at work and in education is forbidden by some laws (in the EU: Regulation 2024/1689, article 5).
- Identification. It was not tested for it.

## Known limits and biases

- FER2013 has wrong labels: people agree with them on 65 +- 5 % of the faces (Goodfellow et al. 2013).
- The classes differ in frequency (`disgust` has 1.5 % of the training faces) and in accuracy, see above.
- FER2013 states neither age nor sex nor origin of a person: accuracy by group is unknown, and unequal in other work.
- About 280 PublicTest faces are copies of training faces; the results include them.
- Trained on frontal and near-frontal faces that a detector cut out, without colour, at 48 pixels.
- Clips: the model judges each frame by itself.
"""


def main() -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--stage")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--conditions", type=Path, default=FOLDER / "test.yaml")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--out", type=Path, default=FOLDER)
    given = parser.parse_args()
    trained = blear.load(given.run, stage=given.stage)
    trained.save(given.out, half=True)
    model = blear.load(given.out)  # the results are those of the stored half-precision weights
    catalog = load_plugins()
    dataset = catalog.get("dataset", "fer/fer2013").build({"source": str(given.csv)}, BuildContext())
    data = read_split(dataset, given.split, model)
    conditions = read_conditions(given.conditions)
    if given.results is not None:
        rows = [_row(values) for values in json.loads(given.results.read_text())]
    else:
        rows = check_conditions(model, data, conditions, catalog)
    classes = by_class(model, data)
    moved = float((predictions(trained, data)[0] != predictions(model, data)[0]).mean())
    facts: dict[str, Any] = {
        "name": "robust-faces",
        "summary": SUMMARY,
        "terms": TERMS,
        "tested_on": f"FER2013, {'PublicTest' if given.split == 'dev' else given.split}",
        "metrics": [row.as_row() for row in rows],
        "by_class": classes,
        "calibration_error": calibration_error(model, data),
        "half_precision_changes": moved,
    }
    hidden = frozenset(label for label, sweep in conditions.sweeps.items() if MEAN in sweep.group)
    model.save(given.out, half=True, text=text(model, facts, markdown(rows, hidden)), **facts)


def _row(values: dict[str, Any]) -> Accuracy:
    return Accuracy(**{field.name: values[field.name] for field in dataclasses.fields(Accuracy)})


def predictions(model: Model, data: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """(class, its probability) of each clean sample."""
    probabilities = model(data.frames_NTHWC[:, 0, :, :, 0])[data.target]
    best = probabilities.max(dim=1)
    return best.indices.numpy(), best.values.numpy()


def by_class(model: Model, data: Labelled) -> dict[str, dict[str, float]]:
    """Class -> recall on clean faces, its number of faces, and the share of the decisions for it."""
    decided, _ = predictions(model, data)
    found = {}
    for number, name in enumerate(model.labels[data.target]):
        own = data.truth_N == number
        recall = float((decided[own] == number).mean())
        found[name] = {"recall": recall, "faces": int(own.sum()), "decided": float((decided == number).mean())}
    return found


def calibration_error(model: Model, data: Labelled) -> float:
    """Expected calibration error of clean faces in 15 bins of equal width (Guo et al. 2017)."""
    decided, confidence = predictions(model, data)
    hit = decided == data.truth_N
    bins = np.minimum((confidence * 15).astype(int), 14)
    return float(sum(abs(hit[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in set(bins)))


def text(model: Model, facts: dict[str, Any], table: str) -> str:
    """The model card as Markdown."""
    card = model.card
    classes = "\n".join(
        f"| {name} | {100 * row['recall']:.1f} | {row['faces']} | {100 * row['decided']:.1f} |"
        for name, row in facts["by_class"].items()
    )
    return f"""# robust-faces

{SUMMARY}.

| fact | value |
| --- | --- |
| input | grey, 48 x 48 pixels; other pictures are converted; cut a square around the face |
| emotion | {", ".join(model.labels["emotion"])} |
| network | `robust/plain_resnet`: {card.parameters:,} parameters, 160 million multiply-accumulates for each face |
| weights | float16; {100 * facts["half_precision_changes"]:.2f} % of the decisions differ from those of float32 |
| training | jobs/robust_faces.yaml, stage `{card.training.stage}`, on FER2013 Training; SHA-256 of the job {card.training.job_sha256} |
| calibration error | {100 * facts["calibration_error"]:.1f} % (15 bins, clean faces) |

## Terms

{TERMS}

## Results

One pass for each face, {facts["tested_on"]} ({facts["metrics"][0]["n"]} faces). Small: area average to 16 x 16 pixels, bilinear back.
JPEG: libjpeg, quality 10. Blur: Gaussian, sigma 1.5 pixels. Noise: Gaussian, sigma 25 of 255. 19 corruptions: ImageNet-C.

{table}

| class (clean) | recall, % | faces | share of the decisions, % |
| --- | ---: | ---: | ---: |
{classes}

{LIMITS}
## How to reproduce

`blear run jobs/robust_faces.yaml --profile small --set data.faces.source=FER2013.csv`, then
`python docs/make_robust_faces.py RUN FER2013.csv`. Another machine or number of threads changes roundings: accuracies then differ
within the intervals above. `blear models test robust-faces FER2013.csv --split test` tests the shipped file on PrivateTest.
"""


if __name__ == "__main__":
    main()
