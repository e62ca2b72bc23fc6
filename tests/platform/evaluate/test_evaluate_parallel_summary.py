"""Counts of cells, masks of bits and threads give the distributions of matrix products in one thread, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from blear.evaluate.predictions import SCHEMA, TARGETS_KEY
from blear.evaluate.statistics import resampler as resampler_module
from blear.evaluate.statistics import thread_map
from blear.evaluate.statistics.resampler import ClusteredPredictions, Resampler
from blear.evaluate.summarise import summarise
from blear.metrics import CLASSIFICATION, REGRESSION, accuracy_of

CLUSTERS = 90


def predictions(seed: int, *, decisions: int = 80, repeated: bool = False) -> ClusteredPredictions:
    """Classes of some clusters; `repeated`: a cluster may have several decisions."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(3, size=decisions)
    guess = np.where(rng.random(decisions) < 0.6, truth, rng.integers(3, size=decisions))
    clusters = rng.integers(CLUSTERS, size=decisions) if repeated else rng.permutation(CLUSTERS)[:decisions]
    return ClusteredPredictions(truth.astype(float), guess.astype(float), np.sort(clusters), 3)


@pytest.mark.parametrize("kept", [0, 1 << 27])
@pytest.mark.parametrize("repeated", [False, True])
def test_cells_and_bits_give_the_distributions_of_matrix_products(
    kept: int, repeated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resampler_module, "_KEPT_BYTES", kept)
    monkeypatch.setattr(resampler_module, "_CELLS_PER_BLOCK", 7 * CLUSTERS)
    a, b = (predictions(seed, repeated=repeated) for seed in (0, 1))
    b = replace(b, truth_N=a.truth_N, clusters_N=a.clusters_N)
    few = ClusteredPredictions(*(values[:60] for values in (b.truth_N, b.prediction_N, b.clusters_N)), 3)

    def found() -> list[np.ndarray]:
        resampler = Resampler(CLUSTERS, 50, 3, permutations=300)
        estimates = resampler.estimates(a, CLASSIFICATION)
        pairs = [(a, b), (a, few)]  # of the second pair, some decisions are missing
        tests = [resampler.permutation_distribution(*pair, metric) for pair in pairs for metric in metrics]
        return [part for one in estimates for part in (one.distribution_R, one.jackknife_J)] + tests

    metrics = CLASSIFICATION
    fast = found()
    monkeypatch.setattr(resampler_module, "cells_of_clusters", lambda *arguments: None)
    monkeypatch.setattr(resampler_module.SwapCounts, "__call__", None)
    monkeypatch.setattr("blear.evaluate.statistics.single_decisions._MAX_COLUMNS", -1)
    metrics = (replace(CLASSIFICATION[0], from_sums=lambda counts_KK: accuracy_of(counts_KK)), *CLASSIFICATION[1:])
    for one, other in zip(fast, found(), strict=True):
        np.testing.assert_array_equal(one, other)


def table(classes: int, samples: int = 60) -> pa.Table:
    """Two arms at two severities; some faces are missing."""
    rng, rows = np.random.default_rng(classes), []
    truth = rng.integers(classes, size=samples).astype(float) if classes else rng.normal(size=samples)
    for arm in ("a", "b"):
        for severity in (1.0, 2.0):
            p_NK = rng.dirichlet(np.ones(max(classes, 1)), samples)
            guess = (
                np.where(rng.random(samples) < 0.5, p_NK.argmax(1), truth)
                if classes
                else truth + rng.normal(size=samples)
            )
            found = rng.random(samples) < 0.9
            for n in range(samples):
                known = {"arm": arm, "stage": arm, "seed": 0, "sample": f"s{n}", "condition": "blur", "target": "x"}
                known |= {"subject": "" if classes else f"p{n % 20}", "video": "", "severity": severity}
                known |= {"found": bool(found[n]), "truth": truth[n], "prediction": float(guess[n])}
                rows.append(known | {"probabilities": p_NK[n].tolist() if classes else None})
    names = {"x": [f"c{n}" for n in range(classes)]}
    return pa.Table.from_pylist(rows, SCHEMA.with_metadata({TARGETS_KEY: json.dumps(names).encode()}))


@pytest.mark.parametrize("classes", [4, 0])
def test_threads_give_the_summary_of_one_thread(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, metrics = table(classes), CLASSIFICATION if classes else REGRESSION
    alone = summarise(rows, metrics, reference="a", seed=0, resamples=200)
    monkeypatch.setattr(thread_map, "_LEAST_CELLS", 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert summarise(rows, metrics, reference="a", seed=0, resamples=200).model_dump() == alone.model_dump()


def test_results_have_the_order_of_the_items_and_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_map.map_in_threads(lambda n: n * n, range(20), cells=1 << 30) == [n * n for n in range(20)]
    with pytest.raises(ZeroDivisionError):
        thread_map.map_in_threads(lambda n: 1 // (n - 7), range(20), cells=1 << 30)
