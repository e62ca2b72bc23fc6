"""Benchmark: epochs of shards of others, trained in place, compared with own shards of the same pictures.

    python tests/bench/bench_own_data.py

JPEG of 48 px (grey) and 224 px (colour) in four shards. *resized* are pictures of 256 px that `size` brings to 224.

| arm | work |
| --- | --- |
| own, first epoch; later epochs | as in bench_data |
| in place, first epoch; later epochs | the same of shards without an index, which `own_data/webdataset` has indexed |
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
from bench_data import drawn, epoch, in_turns, quiet, written
from measuring import Row, quartiles

from bench import table
from blear.data.decoded import worker_pool
from blear.data.decoded.store import Store
from blear.data.prepare.run import prepare_dataset
from blear.data.prepared import Prepared
from blear.plugin.component_ref import ComponentRef

CASES = ((48, 1, 12000), (224, 3, 960))
REPEATS = 5


def measure(cases: tuple[tuple[int, int, int], ...] = CASES, repeats: int = REPEATS) -> list[Row]:
    """Measures samples/s of both kinds of shards; the ratio is that of the medians of paired turns."""
    rows: list[Row] = []
    quiet()
    worker_pool.start_workers()
    with tempfile.TemporaryDirectory() as folder:
        for size, channels, count in cases:
            place = Path(folder) / str(size)
            own = written(place / "own", drawn(size, channels), "jpg", count)
            in_place = foreign(place, place / "own" / "train", channels, None)
            rows += compared(f"{size} px jpg: ", own, in_place, count, repeats)
        larger = written(Path(folder) / "256", drawn(256, 3), "jpg", count)
        resized = foreign(Path(folder) / "256", larger.folder / "train", 3, 224)
        rows += compared("256 px jpg, resized to 224 px: ", own, resized, count, repeats)
    return rows


def foreign(folder: Path, shards: Path, channels: int, size: int | None) -> Prepared:
    """Indexes shards as those of somebody else."""
    params = {
        "source": str(shards),
        "splits": {"train": "*.tar"},
        "size": size,
        "color": "grey" if channels == 1 else "rgb",
        "targets": {"emotion": {"field": "json.targets.emotion", "classes": list("abcdefg")}},
    }
    ref = ComponentRef("dataset", "own_data/webdataset", params)
    return prepare_dataset(ref, folder / "prepared", version="1", workers=1)


def compared(prefix: str, own: Prepared, in_place: Prepared, count: int, repeats: int) -> list[Row]:
    """Returns the rows of one size; the arms run in turns. Later epochs are timed by CPU time."""
    order = np.random.default_rng(0).permutation(count)
    arms: dict[str, Callable[[], object]] = {}
    fresh = own.folder / "fresh"
    for name, prepared in (("own", own), ("in place", in_place)):
        kept = Store.open(prepared, "train", prepared.folder / "kept")
        epoch(kept, order)
        arms[f"{name}, first epoch"] = partial(first_epoch, prepared, fresh, count)
        arms[f"{name}, later epochs"] = partial(epoch, kept, order)
    seconds = in_turns({name: call for name, call in arms.items() if "first" in name}, repeats, fresh)
    for name, call in itertools.islice(itertools.cycle(arms.items()), len(arms) * (2 * repeats + 1)):
        if "later" in name:  # CPU seconds: these epochs copy memory, and other processes disturb a clock more than that
            start = time.process_time()
            call()
            seconds.setdefault(name, []).append(time.process_time() - start)
    rows = []
    for name, times in seconds.items():
        rates = [count / took for took in times]
        other = name.replace("in place", "own")
        ratio = None if other == name else float(np.median(np.array(seconds[other]) / np.array(times)))
        against = "" if ratio is None else other
        rows.append(Row(f"{prefix}{name}", float(np.median(rates)), "samples/s", ratio, against, quartiles(rates)))
    return rows


def first_epoch(prepared: Prepared, cache: Path, count: int) -> int:
    """Decodes every sample into an empty cache."""
    store = Store.open(prepared, "train", cache)
    done = epoch(store, np.arange(count))
    store.close()
    return done


def main() -> None:
    """Measures and prints the table."""
    sys.stdout.write(table([asdict(row) for row in measure()]))


if __name__ == "__main__":
    main()
