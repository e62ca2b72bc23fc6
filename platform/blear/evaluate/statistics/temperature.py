"""Fits the temperature of each model on a validation split, which differs from the reported split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.pool import pool_predictions
from blear.evaluate.statistics.calibration import fit_temperature, normalised_probabilities
from blear.job.schema import Pool

Temperatures = Mapping[tuple[str, str], float]
"""(arm, stage) -> temperature."""


def fit_temperatures(validation: pa.Table, pool: Pool | None) -> Temperatures:
    """Fits one temperature for each (arm, stage) of a predictions table, on the decisions with a found face.

    A regression target has no temperatures.
    """
    table = validation if pool is None else pool_predictions(validation, pool.by, pool.score)
    found: dict[tuple[str, str], float] = {}
    for arm, stage in dict.fromkeys(zip(table["arm"].to_pylist(), table["stage"].to_pylist(), strict=True)):
        own = table.filter(
            pc.and_(pc.and_(pc.equal(table["arm"], arm), pc.equal(table["stage"], stage)), table["found"])
        )
        if own.num_rows and own["probabilities"].null_count < own.num_rows:
            p_NK = normalised_probabilities(own, np.arange(own.num_rows))
            found[arm, stage] = fit_temperature(p_NK, own["truth"].to_numpy().astype(np.int64))
    return found
