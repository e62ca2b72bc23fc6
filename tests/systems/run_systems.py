"""Runs the jobs of all published systems on procedural faces, opens their reports in a browser, and prints a table.

    python tests/systems/run_systems.py [NAME...]       # `make systems`; NAME: of a job, without .yaml

Small networks and few steps (profile `demo`): it shows that each system learns, from data to report, not how good it
is. As many jobs run side by side as there are cores, one thread each. Runs stay in build/systems until the next time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
JOBS, KEPT = REPOSITORY / "jobs", REPOSITORY / "build" / "systems"
FAMILIES = ("fer_", "dsn_", "vtt_")
_POLL_S = 0.2


@dataclass(frozen=True)
class Outcome:
    """Result of one job: wall and CPU seconds, peak memory of its processes in MB, and contents of its run folder."""

    job: str
    seconds: float
    cpu_seconds: float
    memory_mb: float
    run: Path

    def row(self) -> str:
        """Formats a row of the table."""
        stages = [json.loads(file.read_bytes()) for file in sorted(self.run.glob("stages/*/stage.json"))]
        sizes = ", ".join(f"{one['name']} {one['parameters']:,}" for one in stages)
        speeds = ", ".join(f"{one['samples_per_s'] / one['batch_size']:.1f}" for one in stages)
        summary = json.loads((self.run / "summary.json").read_bytes())
        first = summary["metrics"][0]["name"]
        scores = []
        for arm in summary["arms"]:
            found = [e for e in summary["estimates"] if e["arm"] == arm and e["metric"] == first]
            scores.append(f"{arm} {found[0]['value']:.2f} to {found[-1]['value']:.2f}")
        cost = f"{self.memory_mb:.0f} | {self.seconds:.0f} | {self.cpu_seconds:.0f}"
        return f"| {self.job} | {sizes} | {speeds} | {cost} | {'; '.join(scores)} |"


def main(names: list[str]) -> int:
    """Runs the jobs. Returns 1 if one of them fails."""
    jobs = [file for file in sorted(JOBS.glob("*.yaml")) if file.name.startswith(FAMILIES)]
    jobs = [file for file in jobs if not names or file.stem in names]
    if not jobs:
        sys.stderr.write(f"no such job: {', '.join(names)}\n")
        return 2
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    failed, rows = [], []
    began, cores = time.monotonic(), len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(cores) as pool:
        for file, outcome in zip(jobs, pool.map(run, jobs), strict=True):
            if outcome is None or not opens(browser, outcome.run / "report.html"):
                failed.append(file.stem)
                continue
            rows.append(outcome.row())
            sys.stdout.write(rows[-1] + "\n")
            sys.stdout.flush()
    head = "| job | parameters | steps/s | MB | seconds | CPU seconds | first metric, clean to worst |"
    sys.stdout.write("\n".join(["", head, "| --- " * 7 + "|", *rows, ""]) + "\n")
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    sys.stdout.write(f"{time.monotonic() - began:.0f} s on {cores} cores; load of 1, 5 and 15 minutes: {load}\n")
    if failed:
        sys.stderr.write(f"failed: {', '.join(failed)}\n")
    return 1 if failed else 0


def run(file: Path) -> Outcome | None:
    """Runs one job in its own processes. Returns None if it fails."""
    began, peak, cpu = time.monotonic(), 0.0, 0.0
    storage = KEPT / file.stem
    shutil.rmtree(storage, ignore_errors=True)
    command = [str(Path(sys.executable).with_name("blear")), "run", str(file), "--profile", "demo", "--runner", "local"]
    environment = os.environ | {"BLEAR_STORAGE": str(storage), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak, cpu = max(peak, resident_mb(process.pid)), max(cpu, cpu_seconds(process.pid))
            time.sleep(_POLL_S)
    folder = storage / "runs" / file.stem
    return Outcome(file.stem, time.monotonic() - began, cpu, peak, folder) if process.returncode == 0 else None


def resident_mb(pid: int) -> float:
    """Returns the memory of a running process in MB; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def cpu_seconds(pid: int) -> float:
    """Returns the CPU seconds of a process and its finished children; 0 if the process has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def opens(browser: str | None, page: Path) -> bool:
    """Returns whether a browser shows the report; without a browser, whether the file exists."""
    if browser is None:
        sys.stderr.write("no Chromium: reports are not opened\n")
        return page.is_file()
    with tempfile.TemporaryDirectory() as profile:
        options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--dump-dom"]
        done = subprocess.run([browser, *options, page.as_uri()], capture_output=True, text=True, check=False)
    return done.returncode == 0 and "<svg" in done.stdout and "<table" in done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
