"""The jobs that come with blear: found by name, listed and copied."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

from ruamel.yaml import YAML

from blear.errors import JobError

_PACKAGE = Path(__file__).parent.parent / "jobs"
_CHECKOUT = Path(__file__).parents[3] / "jobs"
"""The folder of a checkout, from which a wheel's folder is filled."""


def shipped_jobs() -> dict[str, Path]:
    """Returns name -> job file, by name."""
    return {file.stem: file for file in sorted(_folder().glob("*.yaml"))}


def job_template(name: str) -> str:
    """Returns the text of a template of `blear new`, with fields as in `string.Template`."""
    return (_folder() / "templates" / f"{name}.yaml").read_text(encoding="utf-8")


def _folder() -> Path:
    return _PACKAGE if _PACKAGE.is_dir() else _CHECKOUT


def find_job(job: Path) -> Path:
    """Returns the file of a job that is given by its path or by the name of a shipped job.

    Raises:
        JobError: there is no such file, and no such shipped job.
    """
    bare = len(job.parts) == 1 and not job.suffix
    jobs = shipped_jobs() if bare else {}
    if os.path.isfile(job):  # noqa: PTH113  Path.is_file raises an error for a name that is too long
        return job
    if job.name in jobs:
        return jobs[job.name]
    if os.path.exists(job):  # noqa: PTH110  a folder or a pipe
        return job
    close = difflib.get_close_matches(job.name, list(jobs), n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    do = f"{hint}give the path of a YAML job, or a name that `blear jobs` lists"
    raise JobError("no such job file", str(job), do)


def job_summary(file: Path) -> str:
    """Returns the first sentence of a job's description, or of the comment at its beginning."""
    text = file.read_text(encoding="utf-8")
    description = (YAML(typ="safe").load(text) or {}).get("description", "")
    if not description:
        comment = re.match(r"(?:#!.*\n)?((?:#.*\n)*)", text)
        description = " ".join((comment[1] if comment else "").replace("#", "").split())
    return re.split(r"\.\s+(?=[A-Z])", description.strip(), maxsplit=1)[0].rstrip(".")


def copy_job(name: str, target: Path) -> Path:
    """Copies a shipped job, with its run bit, into a folder or to a file.

    Raises:
        JobError: there is no such job, or the file exists.
    """
    jobs = shipped_jobs()
    if name not in jobs:
        close = difflib.get_close_matches(name, list(jobs), n=1)
        do = f"did you mean {close[0]!r}?" if close else "`blear jobs` lists the names"
        raise JobError(f"there is no shipped job {name!r}", do=do)
    file = target / f"{name}.yaml" if target.is_dir() else target
    if file.exists():
        raise JobError("the file exists", str(file), "give another name")
    file.write_bytes(jobs[name].read_bytes())
    file.chmod(0o755)
    return file
