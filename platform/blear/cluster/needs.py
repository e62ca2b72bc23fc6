"""What a job needs beside what is installed on the cluster, and whether it gets there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blear.cluster.upload import Upload
from blear.document import Document
from blear.errors import JobError
from blear.job import Job
from blear.jobfile import parse_set, read_job
from blear.plugins import Catalog

_PLACES = ("source", "shards")  # keys of `data` that name a folder, a file or a URL


@dataclass(frozen=True)
class Checked:
    """A job that was checked here, to be run elsewhere.

    Attributes:
        job, catalog: as `read_job` gives them, but for places that only the cluster has.
        places: (key of the job, path as written) of raw data and shards on disk.
    """

    job: Job
    catalog: Catalog
    places: tuple[tuple[str, str], ...]


def check_job(file: Path, *, profile: str | None, overrides: Sequence[str]) -> Checked:
    """Checks a job as `blear check` does; absolute paths of data may exist on the cluster only.

    Raises:
        JobError: with every problem found.
    """
    places = _data_places(file, profile, overrides)
    elsewhere = [key for key, text in places if Path(text).is_absolute() and not Path(text).exists()]
    stand_ins = [f"{key}={Path(file).resolve().parent}" for key in elsewhere]  # any path that exists
    job, catalog = read_job(file, profile=profile, overrides=[*overrides, *stand_ins])
    return Checked(job, catalog, places)


def missing(checked: Checked, file: Path, upload: Upload) -> list[str]:
    """One warning for each place of data that the cluster may not have.

    Raises:
        JobError: the job file or a one-file plugin is not uploaded: the job could not even start.
    """
    lacking = [f"    {path}" for path in (file.resolve(), *map(Path, checked.job.plugins)) if not upload.holds(path)]
    if lacking:
        raise JobError(
            "the job needs these files, but they are not uploaded (outside the working directory, or ignored):\n"
            + "\n".join(lacking),
            str(upload.folder),
            "move them below the working directory, give another --working-dir, or mend .gitignore / .rayignore",
        )
    warnings = []
    for key, text in checked.places:
        path = Path(text).expanduser()
        if path.is_absolute() and not upload.holds(path):
            warnings.append(f"{key}: {text} is not uploaded; every node must have it at this path")
        elif not path.is_absolute() and not upload.holds(path.resolve()):
            warnings.append(
                f"{key}: {text} is not uploaded (outside the working directory, or ignored), so the job will not find "
                "it; put it on storage that the nodes share and give its absolute path"
            )
    return warnings


def _data_places(file: Path, profile: str | None, overrides: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(key, path) of every place of data on disk, after the profile and the overrides."""
    document = Document(file)
    profiles = document.data.get("profiles")
    chosen = profiles.get(profile) if isinstance(profiles, dict) else None
    for path, value in chosen.items() if isinstance(chosen, dict) else ():
        document.assign(path, value, f"profile {profile}")
    for text in overrides:
        path, value = parse_set(text)
        document.assign(path, value, f"--set {path}")
    data = document.data.get("data")
    return tuple(
        (f"data.{name}.{key}", entry[key])
        for name, entry in (data.items() if isinstance(data, dict) else ())
        for key in _PLACES
        if isinstance(entry, dict) and isinstance(entry.get(key), str) and "://" not in entry[key]
    )
