"""Reads a job file: profile, overrides, matrices, schema, names; reports all errors at once with their places."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from blear.job.cross_checks import check_sections
from blear.job.document import Document, validate
from blear.job.matrices import expand_matrices
from blear.job.overrides import apply_overrides, apply_profile
from blear.job.resolver import resolve
from blear.job.schema import Job
from blear.plugin.catalog import Catalog


def read_job(
    file: Path, *, profile: str | None = None, overrides: Sequence[str] | Mapping[str, Any] = ()
) -> tuple[Job, Catalog]:
    """Reads and checks a job; in the result, component names are full, paths absolute and matrices expanded.

    Args:
        file: the job file.
        profile: name of one of the job's `profiles`.
        overrides: `path=value` texts with values in YAML, or path -> value; applied after the profile.

    Returns:
        The job, and the plugins that it uses.

    Raises:
        JobError: lists every problem as file:line:column, path, message.
    """
    document = Document(file)
    if profile is not None:
        apply_profile(document, profile)
    apply_overrides(document, overrides)
    expand_matrices(document)
    validate(document, Job, document.data, ())
    resolved, catalog = resolve(document)
    document.raise_problems()
    job = Job.model_validate(resolved)
    check_sections(document, job)
    document.raise_problems()
    return job, catalog


def read_run_job(root: Path) -> Job:
    """Reads the job of a run without looking up plugins, data or weights, which may have moved since.

    Args:
        root: the run folder. Of a search, the job of its best trial and of its baselines is read once it is known.

    Raises:
        JobError: the file is missing, or is no resolved job; lists every problem.
    """
    final = root / "final.yaml"
    document = Document(final if final.is_file() else root / "job.yaml")
    validate(document, Job, document.data, ())
    document.raise_problems()
    return Job.model_validate(document.data)


def dump_job(job: Job) -> str:
    """Formats a resolved job as YAML. Reading the text gives an equal job."""
    stream = io.StringIO()
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 120
    yaml.dump(job.model_dump(by_alias=True, mode="json", exclude_defaults=True), stream)
    return stream.getvalue()
