"""What a job needs beside what is installed on the cluster, and whether it gets there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from blear.cluster.upload import Upload
from blear.errors import JobError
from blear.job.document import Document
from blear.job.overrides import parse_override
from blear.job.reader import read_job
from blear.job.schema import Job
from blear.plugin.catalog import Catalog

_PLACES = ("source", "shards")  # keys of `data` that name a folder, a file or a URL
_WEIGHTS = ".start_from.file"  # how the key of a file of weights ends


@dataclass(frozen=True)
class Checked:
    """A job that was checked here, to be run elsewhere.

    Attributes:
        job, catalog: as `read_job` gives them, but for places that only the cluster has.
        places: (key of the job, path as written) of raw data, shards on disk, and files of weights.
    """

    job: Job
    catalog: Catalog
    places: tuple[tuple[str, str], ...]


def check_job(file: Path, *, profile: str | None, overrides: Sequence[str]) -> Checked:
    """Checks a job as `blear check` does; absolute paths of data and weights may exist on the cluster only.

    Raises:
        JobError: with every problem found.
    """
    places = _places(file, profile, overrides)
    elsewhere = [key for key, text in places if Path(text).is_absolute() and not Path(text).exists()]
    here = Path(file).resolve()  # for each of them any folder, or any file, that exists
    stand_ins = [f"{key}={here if key.endswith(_WEIGHTS) else here.parent}" for key in elsewhere]
    stand_ins += [f"{key.removesuffix('file')}sha256=null" for key in elsewhere if key.endswith(_WEIGHTS)]
    job, catalog = read_job(file, profile=profile, overrides=[*overrides, *stand_ins])
    return Checked(job, catalog, places)


def missing(checked: Checked, file: Path, upload: Upload) -> list[str]:
    """One warning for each place of data or weights that the cluster may not have.

    Raises:
        JobError: the job file, a one-file plugin, or weights that lie beside the job file are not uploaded: the job
            could not even start.
    """
    relative = [Path(text) for key, text in checked.places if key.endswith(_WEIGHTS)]
    beside = [(file.parent / path).resolve() for path in relative if not path.expanduser().is_absolute()]
    needed = (file.resolve(), *map(Path, checked.job.plugins), *beside)
    lacking = [f"    {path}" for path in needed if not upload.contains(path)]
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
        if path.is_absolute() and not upload.contains(path):
            warnings.append(f"{key}: {text} is not uploaded; every node must have it at this path")
        elif not path.is_absolute() and not key.endswith(_WEIGHTS) and not upload.contains(path.resolve()):
            warnings.append(
                f"{key}: {text} is not uploaded (outside the working directory, or ignored), so the job will not find "
                "it; put it on storage that the nodes share and give its absolute path"
            )
    return warnings


def _places(file: Path, profile: str | None, overrides: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(key, path) of every place of data and file of weights on disk, after the profile and the overrides."""
    document = Document(file)
    profiles = document.data.get("profiles")
    chosen = profiles.get(profile) if isinstance(profiles, dict) else None
    for path, value in chosen.items() if isinstance(chosen, dict) else ():
        document.assign(path, value, f"profile {profile}")
    for text in overrides:
        path, value = parse_override(text)
        document.assign(path, value, f"--set {path}")
    data, stages = document.data.get("data"), document.data.get("stages")
    places = [
        (f"data.{name}.{key}", entry[key])
        for name, entry in (data.items() if isinstance(data, dict) else ())
        for key in _PLACES
        if isinstance(entry, dict) and isinstance(entry.get(key), str) and "://" not in entry[key]
    ]
    for name, entry in stages.items() if isinstance(stages, dict) else ():
        file_given = entry
        for key in ("backbone", "start_from", "file"):
            file_given = file_given.get(key) if isinstance(file_given, dict) else None
        if isinstance(file_given, str):
            places.append((f"stages.{name}.backbone{_WEIGHTS}", file_given))
    return tuple(places)
