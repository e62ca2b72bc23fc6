"""`blear submit`: checks the job, lists the upload, builds wheels, submits, follows the log."""

from __future__ import annotations

import contextlib
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blear.cluster.job_server import JobServer
from blear.cluster.required_files import check_job, find_missing
from blear.cluster.upload import format_size, plan_upload
from blear.cluster.wheels import build_wheel, local_plugins, registry_plugins, requirements
from blear.errors import JobError
from blear.job.shipped_jobs import find_job
from blear.progress import echo
from blear.train.on_ray.worker_logs import is_job_manager_line

DETACHED_EXIT_CODE = 130
"""Exit code after Ctrl-C; the job keeps running."""


def submit_job(
    file: Path,
    *,
    address: str | None,
    profile: str | None,
    overrides: Sequence[str],
    folder: Path,
    fresh: bool,
    detach: bool,
) -> int:
    """Submits a job, writes its log to standard output, and returns its exit code.

    Args:
        file: the job file, below `folder`.
        address: URL of the job server; None: RAY_API_SERVER_ADDRESS or RAY_ADDRESS.
        profile, overrides: as for `blear run`.
        folder: the working directory to upload.
        fresh: deletes an earlier run of this name first.
        detach: returns after the submission, without the log.

    Raises:
        BlearError: the job is wrong; the upload is too large or incomplete; the cluster cannot be reached, or refuses.
    """
    if not file.exists() and find_job(file).exists():
        do = f"copy it into the folder: blear jobs copy {file.stem}; blear submit {file.stem}.yaml"
        raise JobError("a job that comes with blear lies outside of the folder that is uploaded", str(file), do)
    checked = check_job(file, profile=profile, overrides=overrides)
    name = checked.job.name
    upload = plan_upload(folder)
    for line in upload.listing():
        echo(line)
    upload.check()
    for warning in find_missing(checked, file, upload):
        echo(f"warning: {warning}")
    server = JobServer(address)
    entrypoint = _entrypoint(file.resolve().relative_to(upload.folder), profile, overrides, fresh)
    with tempfile.TemporaryDirectory(prefix="blear-wheels-") as target:
        wheels = []
        for plugin, origin in local_plugins(checked.job).items():
            echo(f"builds a wheel of plugin {plugin} from {origin}")
            wheels.append(build_wheel(plugin, origin, Path(target)))
            echo(f"    {format_size(wheels[-1].stat().st_size):>10}  {wheels[-1].name}")
            if required := requirements(plugin):
                echo(f"warning: plugin {plugin} requires packages that the nodes must have: {', '.join(required)}")
        if registered := registry_plugins(checked.job):
            echo(f"warning: the nodes must have these plugins: {', '.join(registered)}")
        runtime_env = {"working_dir": str(upload.folder)} | ({"py_modules": [str(w) for w in wheels]} if wheels else {})
        job_id, joined = server.submit(name, entrypoint, runtime_env)
    fetch = f"blear fetch {name} --address {server.address}"
    rejoin = f"the same command joins its log; to stop it: ray job stop {job_id} --address {server.address}"
    try:
        echo(f"{job_id} {'already runs ' if joined else ''}on {server.address}")
        if detach:
            echo(rejoin)
            echo(f"report and tables, when the job has ended: {fetch}")
            return 0
        with contextlib.closing(_LogWriter()) as writer:
            code = server.follow(job_id, writer)
        if code == 0:
            echo(f"report and tables: {fetch}")
        return code
    except KeyboardInterrupt:
        echo(f"\ndetached; {job_id} goes on. {rejoin[0].upper()}{rejoin[1:]}")
        return DETACHED_EXIT_CODE


def _entrypoint(file: Path, profile: str | None, overrides: Sequence[str], fresh: bool) -> str:
    """The command that the cluster runs in the uploaded folder."""
    words = ["blear", "run", file.as_posix(), "--runner", "ray"]
    words += ["--profile", profile] if profile is not None else []
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join([*words, "--fresh"] if fresh else words)


class _LogWriter:
    """Writes the log of a job to standard output, without the lines of Ray's job manager."""

    def __init__(self) -> None:
        self._line = ""  # the last line, which is not complete yet

    def __call__(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            if not is_job_manager_line(line):
                sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def close(self) -> None:
        """Writes the rest after the last line break."""
        sys.stdout.write(self._line)
        sys.stdout.flush()
        self._line = ""
