"""Temperatures of the arms' stages, fitted on a validation split that is not the one reported on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from blear.evaluate.pool import pooled
from blear.evaluate.statistics.calibration import fit_temperature, probabilities
from blear.job.schema import Pool

Temperatures = Mapping[tuple[str, str], float]
"""(arm, stage) -> temperature."""


def temperatures(validation: pa.Table, pool: Pool | None) -> Temperatures:
    """The temperature of each (arm, stage) of a table of predictions of classes, over decisions with a found face."""
    table = validation if pool is None else pooled(validation, pool.by, pool.score)
    found: dict[tuple[str, str], float] = {}
    for arm, stage in dict.fromkeys(zip(table["arm"].to_pylist(), table["stage"].to_pylist(), strict=True)):
        own = table.filter(
            pc.and_(pc.and_(pc.equal(table["arm"], arm), pc.equal(table["stage"], stage)), table["found"])
        )
        if own.num_rows and own["probabilities"].null_count < own.num_rows:
            p_NK = probabilities(own, np.arange(own.num_rows))
            found[arm, stage] = fit_temperature(p_NK, own["truth"].to_numpy().astype(np.int64))
    return found
