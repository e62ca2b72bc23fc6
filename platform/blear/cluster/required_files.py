"""Files that a job needs on the cluster, and whether they are uploaded."""

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

_PATH_KEYS = ("source", "shards")  # keys of an entry of `data`: a folder, a file or a URL
_WEIGHTS = (".start_from.file", ".teacher.file")  # suffixes of the keys of weight files


@dataclass(frozen=True)
class CheckedJob:
    """A job that was checked on this machine and will run on a cluster.

    Attributes:
        job: the resolved job. Paths that exist on the cluster only are replaced by local ones.
        catalog: the components of the installed plugins.
        paths: (key of the job, path as written) of raw data, shards on disk, and weight files.
    """

    job: Job
    catalog: Catalog
    paths: tuple[tuple[str, str], ...]


def check_job(file: Path, *, profile: str | None, overrides: Sequence[str]) -> CheckedJob:
    """Checks a job as `blear check` does, except that absolute paths of data and weights may not exist here.

    Raises:
        JobError: with all problems of the job.
    """
    paths = _paths(file, profile, overrides)
    remote = [key for key, text in paths if Path(text).is_absolute() and not Path(text).exists()]
    here = Path(file).resolve()  # an existing file, and its folder, replace remote ones during the check
    replacements = [f"{key}={here if key.endswith(_WEIGHTS) else here.parent}" for key in remote]
    replacements += [f"{key.removesuffix('file')}sha256=null" for key in remote if key.endswith(_WEIGHTS)]
    job, catalog = read_job(file, profile=profile, overrides=[*overrides, *replacements])
    return CheckedJob(job, catalog, paths)


def find_missing(checked: CheckedJob, file: Path, upload: Upload) -> list[str]:
    """Returns one warning for each path of data or weights that the cluster may not have.

    Raises:
        JobError: the job file, a one-file plugin, or a weight file with a relative path is not uploaded, so that the
            job could not start.
    """
    relative = [Path(text) for key, text in checked.paths if key.endswith(_WEIGHTS)]
    beside = [(file.parent / path).resolve() for path in relative if not path.expanduser().is_absolute()]
    needed = (file.resolve(), *map(Path, checked.job.plugins), *beside)
    missing = [f"    {path}" for path in needed if not upload.contains(path)]
    if missing:
        raise JobError(
            "the job needs these files, but they are not uploaded (outside the working directory, or ignored):\n"
            + "\n".join(missing),
            str(upload.folder),
            "move them below the working directory, give another --working-dir, or change .gitignore / .rayignore",
        )
    warnings = []
    for key, text in checked.paths:
        path = Path(text).expanduser()
        if path.is_absolute() and not upload.contains(path):
            warnings.append(f"{key}: {text} is not uploaded; every node must have it at this path")
        elif (
            not path.is_absolute()
            and not key.endswith(_WEIGHTS)
            and not upload.contains((upload.folder / path).resolve())
        ):  # the job starts in the uploaded folder, which need not be the current one
            warnings.append(
                f"{key}: {text} is not uploaded (outside the working directory, or ignored), so the job will not find "
                "it; put it on storage that the nodes share and give its absolute path"
            )
    return warnings


def _paths(file: Path, profile: str | None, overrides: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(key, path) of all data folders and weight files on disk, after the profile and the overrides are applied."""
    document = Document(file)
    profiles = document.data.get("profiles")
    chosen = profiles.get(profile) if isinstance(profiles, dict) else None
    for path, value in chosen.items() if isinstance(chosen, dict) else ():
        document.assign(path, value, f"profile {profile}")
    for text in overrides:
        path, value = parse_override(text)
        document.assign(path, value, f"--set {path}")
    data, stages = document.data.get("data"), document.data.get("stages")
    paths = [
        (f"data.{name}.{key}", entry[key])
        for name, entry in (data.items() if isinstance(data, dict) else ())
        for key in _PATH_KEYS
        if isinstance(entry, dict) and isinstance(entry.get(key), str) and "://" not in entry[key]
    ]
    for name, entry in stages.items() if isinstance(stages, dict) else ():
        heads = entry.get("heads") if isinstance(entry, dict) else None
        parts = [(), ("backbone",), ("head",), *(("heads", str(head)) for head in (heads or ()))]
        for keys in (*((*part, "start_from", "file") for part in parts), ("teacher", "file")):
            value = entry
            for key in keys:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, str):
                paths.append((".".join(("stages", str(name), *keys)), value))
    return tuple(paths)
