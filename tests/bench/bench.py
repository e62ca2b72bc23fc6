"""Runs the benchmarks. Every bench_*.py has a function `measure()` that returns rows, and runs in its own process.

    python tests/bench/bench.py [WORD ...] [--out build/bench.json]

With words, only files whose name contains one of them run. Writes a JSON file and prints the table. The exit code is 1
if a benchmark failed. A ratio compares arms that ran in turns in one process.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = (
    "av",
    "blear",
    "kornia",
    "kornia_rs",
    "numpy",
    "opencv-python",
    "pillow",
    "ray",
    "torch",
    "torchvision",
    "webdataset",
)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="parts of the names of the benchmarks to run; none: all")
    parser.add_argument("--out", type=Path, default=HERE.parents[1] / "build" / "bench.json")
    parser.add_argument("--folder", type=Path, default=HERE, help="folder of the bench_*.py")
    parser.add_argument("--alone", type=Path, help=argparse.SUPPRESS)  # file for the rows of one benchmark
    options = parser.parse_args(arguments)
    if options.alone is not None:
        _measure(options.folder, options.words[0], options.alone)
        return 0
    files = sorted(path for path in options.folder.glob("bench_*.py"))
    chosen = [path for path in files if not options.words or any(word in path.stem for word in options.words)]
    if not chosen:
        parser.error(f"no benchmark has such a name; choose from: {', '.join(path.stem for path in files)}")
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions(),
        "benchmarks": {},
        "rows": [],
        "failed": [],
    }
    for path in chosen:
        _run(path, options.folder, result)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        partial = options.out.with_suffix(".partial")
        partial.write_text(json.dumps(result, indent=1))
        partial.replace(options.out)  # keeps finished results if a later benchmark fails
    sys.stdout.write(f"\n{options.out}\n")
    return 1 if result["failed"] else 0


def _run(path: Path, folder: Path, result: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{path.stem} ...\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory() as temporary:
        rows = Path(temporary) / "rows.json"
        command = [sys.executable, __file__, path.stem, "--folder", str(folder), "--alone", str(rows)]
        began = time.monotonic()
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            result["failed"].append(path.stem)
            sys.stdout.write(f"{path.stem} FAILED with exit code {code}\n")
            return
        done = json.loads(rows.read_text())
    facts = {"seconds": time.monotonic() - began, "peak_mb": done["peak_mb"]}
    result["benchmarks"][path.stem] = facts
    result["rows"] += [{"bench": path.stem, **row} for row in done["rows"]]
    sys.stdout.write(table(done["rows"]))
    sys.stdout.write(f"{path.stem}: {facts['seconds']:.0f} s, peak memory {facts['peak_mb']:.0f} MB\n")


def _measure(folder: Path, name: str, out: Path) -> None:
    """Runs one benchmark in this process. Writes its rows and its peak memory to `out`."""
    sys.path[:0] = [str(folder), str(HERE)]
    rows = importlib.import_module(name).measure()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)
    out.write_text(json.dumps({"rows": [dataclasses.asdict(row) for row in rows], "peak_mb": peak}))


def table(rows: list[dict[str, Any]]) -> str:
    """Formats rows as an aligned text table."""
    cells = [("name", "value", "unit", "quartiles", "ratio", "against")]
    for row in rows:
        spread = "" if row["spread"] is None else f"{_short(row['spread'][0])} to {_short(row['spread'][1])}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g} x"
        cells.append((row["name"], _short(row["value"]), row["unit"], spread, ratio, row["against"]))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    sides = ("<", ">", "<", "<", ">", "<")
    lines = (
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(line, sides, widths, strict=True))
        for line in cells
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """Describes the machine: CPU, cores, threads, memory, system."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", ""),
        "memory_gb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9,
        "system": platform.platform(),
    }


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages in `PACKAGES`."""
    found = {(dist.metadata["Name"] or "").lower(): dist.version for dist in distributions()}
    return {"python": platform.python_version()} | {name: found[name] for name in PACKAGES if name in found}


if __name__ == "__main__":
    sys.exit(main())
