"""Everything that `blear submit` does, in order: check, list, warn, build, send, follow."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from blear.cluster.needs import check_job, missing
from blear.cluster.submission import JobServer
from blear.cluster.upload import format_size, plan_upload
from blear.cluster.wheels import build_wheel, local_plugins, registry_plugins, requirements
from blear.progress import echo

DETACHED = 130
"""Exit code after Ctrl-C: the job goes on."""


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
    """Submits a job, follows its log to standard output, returns its exit code.

    Args:
        file: the job file, below `folder`.
        address: the job server; None: what Ray's variables name.
        profile, overrides: as for `blear run`.
        folder: the working directory to upload.
        fresh: delete an earlier run of this name first.
        detach: return once the job is submitted.

    Raises:
        BlearError: the job is wrong, too big or lacks files; the cluster does not answer or refuses.
    """
    checked = check_job(file, profile=profile, overrides=overrides)
    name = checked.job.name
    upload = plan_upload(folder)
    for line in upload.listing():
        echo(line)
    upload.check()
    for warning in missing(checked, file, upload):
        echo(f"warning: {warning}")
    server = JobServer(address)
    entrypoint = _entrypoint(file.resolve().relative_to(upload.folder), profile, overrides, fresh)
    with tempfile.TemporaryDirectory(prefix="blear-wheels-") as target:
        wheels = []
        for plugin, place in local_plugins(checked.job).items():
            echo(f"builds a wheel of plugin {plugin} from {place}")
            wheels.append(build_wheel(plugin, place, Path(target)))
            echo(f"    {format_size(wheels[-1].stat().st_size):>10}  {wheels[-1].name}")
            if needed := requirements(plugin):
                echo(f"warning: plugin {plugin} requires what the nodes must have: {', '.join(needed)}")
        if there := registry_plugins(checked.job):
            echo(f"warning: the nodes must have these plugins: {', '.join(there)}")
        runtime_env = {"working_dir": str(upload.folder)} | ({"py_modules": [str(w) for w in wheels]} if wheels else {})
        job_id, joined = server.submit(name, entrypoint, runtime_env)
    come_back = f"the same command joins its log; to stop it: ray job stop {job_id} --address {server.address}"
    try:
        echo(f"{job_id} {'already runs ' if joined else ''}on {server.address}")
        if detach:
            echo(come_back)
            return 0
        return server.follow(job_id, _write)
    except KeyboardInterrupt:
        echo(f"\ndetached; {job_id} goes on. {come_back[0].upper()}{come_back[1:]}")
        return DETACHED


def _entrypoint(file: Path, profile: str | None, overrides: Sequence[str], fresh: bool) -> str:
    """The command that the cluster runs in the uploaded folder."""
    words = ["blear", "run", file.as_posix(), "--runner", "ray"]
    words += ["--profile", profile] if profile is not None else []
    words += [word for override in overrides for word in ("--set", override)]
    return shlex.join([*words, "--fresh"] if fresh else words)


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
