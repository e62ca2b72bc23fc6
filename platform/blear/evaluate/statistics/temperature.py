"""Fits the temperature of each model on a validation split, which differs from the reported split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.pool import pool_predictions
from blear.evaluate.statistics.calibration import fit_temperature, normalised_probabilities
from blear.job.schema import Pool

Temperatures = Mapping[tuple[str, str, int], float]
"""(arm, stage, training seed) -> temperature."""


def fit_temperatures(validation: pa.Table, pool: Pool | None) -> Temperatures:
    """Fits one temperature for each (arm, stage, training seed) of a table, on the decisions with a found face.

    A regression target has no temperatures.
    """
    table = validation if pool is None else pool_predictions(validation, pool.by, pool.score)
    found: dict[tuple[str, str, int], float] = {}
    for arm, stage, seed in dict.fromkeys(zip(*(table[c].to_pylist() for c in ("arm", "stage", "seed")), strict=True)):
        own = table.filter(
            (pc.field("arm") == arm) & (pc.field("stage") == stage) & (pc.field("seed") == seed) & pc.field("found")
        )
        if own.num_rows and own["probabilities"].null_count < own.num_rows:
            p_NK = normalised_probabilities(own, np.arange(own.num_rows))
            found[arm, stage, seed] = fit_temperature(p_NK, own["truth"].to_numpy().astype(np.int64))
    return found
