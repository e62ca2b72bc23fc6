"""Synthetic predictions tables for the tests of evaluation."""

import numpy as np
import pyarrow as pa
import torch

from blear.contracts import Categories, Values
from blear.evaluate.prediction_rows import ClipColumns, PredictionContext, prediction_rows
from blear.evaluate.statistics.tested_predictions import TestedPredictions
from blear.metrics import CLASSIFICATION, REGRESSION


def rows(*, truth_B, decoded, priors=None, **columns):
    """`prediction_rows` with the columns of both of its dataclasses as keyword arguments."""
    names = ("arm", "stage", "condition", "severity", "target")
    context = PredictionContext(**{name: columns.pop(name) for name in names}, seed=columns.pop("seed", 0))
    return prediction_rows(context, ClipColumns(**columns), truth_B, decoded, priors)


def classes(arm, severity, truth, prediction, *, condition="blur", names="abc", probabilities=None, **columns):
    """Rows of one arm that predicts classes: one-hot probabilities, unless probabilities [N, K] are given."""
    given = np.eye(len(names))[np.asarray(prediction)] if probabilities is None else np.asarray(probabilities)
    return rows(
        arm=arm,
        stage=columns.pop("stage", arm),
        condition=condition,
        severity=severity,
        target="emotion",
        samples=columns.pop("samples", [f"s{i:05}" for i in range(len(truth))]),
        truth_B=np.asarray(truth),
        decoded=Categories(tuple(names), torch.tensor(given)[:, None]),
        **columns,
    )


def values(arm, severity, truth, prediction, *, condition="blur", **columns):
    """Rows of one arm with a regression target."""
    return rows(
        arm=arm,
        stage=columns.pop("stage", arm),
        condition=condition,
        severity=severity,
        target="valence",
        samples=columns.pop("samples", [f"s{i:05}" for i in range(len(truth))]),
        truth_B=np.asarray(truth, dtype=float),
        decoded=Values(torch.tensor(np.asarray(prediction, dtype=float))[:, None]),
        **columns,
    )


def make_tested(*tables, reference="a", metrics=None, resamples=200, seed=0, cluster=None):
    """`TestedPredictions` of the tables together."""
    table = pa.concat_tables(tables)
    if metrics is None:
        metrics = CLASSIFICATION if table["probabilities"].null_count < table.num_rows else REGRESSION
    return TestedPredictions.of(table, metrics, reference, resamples, seed, cluster)


def noisy_predictions(rng, truth, accuracy, count=3):
    """Class predictions with about this accuracy."""
    wrong = (truth + rng.integers(1, count, len(truth))) % count
    return np.where(rng.random(len(truth)) < accuracy, truth, wrong)
