"""Builds wheels of locally installed plugins for the cluster.

Ray's `py_modules` accepts folders and wheels. A folder has no entry points, so that the plugin would not be discovered.
A wheel is installed with all of its requirements, which include blear. Therefore the wheels are built without
requirements, and the nodes must have the required packages.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, entry_points
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from blear.errors import PluginError
from blear.job.schema import Job

_INSTALLER_FILES = ("INSTALLER", "REQUESTED", "direct_url.json")


def local_plugins(job: Job) -> dict[str, Path]:
    """Distributions of the job's plugins that were not installed from a registry: name -> local folder or wheel."""
    origins = {name: _local_origin(Distribution.from_name(name)) for name in _distributions(job)}
    return {name: origin for name, origin in origins.items() if origin is not None}


def registry_plugins(job: Job) -> list[str]:
    """Distributions of the job's plugins that were installed from a registry, as `name==version`."""
    dists = [Distribution.from_name(name) for name in _distributions(job)]
    return [f"{dist.name}=={dist.version}" for dist in dists if _local_origin(dist) is None]


def build_wheel(name: str, origin: Path, target: Path) -> Path:
    """Builds the wheel of a plugin, without its requirements.

    pip builds it from a folder. A plugin that was installed from a wheel is packed again from its installed files,
    because the wheel may no longer exist. The file name contains a digest of the content: Ray caches wheels by file
    name, and would not upload a changed plugin of the same version.

    Args:
        name: name of the distribution.
        origin: the folder or wheel that it was installed from.
        target: folder of the new wheel.

    Raises:
        PluginError: pip cannot build the wheel; the message has pip's last lines.
    """
    stem, content = (
        _build_from_folder(name, origin, target / name)
        if origin.is_dir()
        else _pack_installed(Distribution.from_name(name))
    )
    _drop_requirements(content)
    digest = hashlib.sha256()
    for file in sorted(content):
        digest.update(f"{file}\n{len(content[file])}\n".encode() + content[file])
    project, version, *tags = stem.split("-")
    path = target / ("-".join([project, version, f"0{digest.hexdigest()[:12]}", *tags[-3:]]) + ".whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in content.items():
            archive.writestr(file, data)
    return path


def _build_from_folder(name: str, folder: Path, target: Path) -> tuple[str, dict[str, bytes]]:
    """Builds a wheel with pip; returns its name without the suffix, and path -> content of its files."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-color", "--no-deps", "--wheel-dir", str(target), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(target.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-16:])
        raise PluginError(f"its wheel cannot be built:\n{last}", f"{name} ({folder})", "fix its pyproject.toml")
    with zipfile.ZipFile(wheels[0]) as archive:
        content = {part.filename: archive.read(part) for part in archive.infolist() if not part.is_dir()}
    return wheels[0].name.removesuffix(".whl"), content


def _pack_installed(distribution: Distribution) -> tuple[str, dict[str, bytes]]:
    """Name and files of a wheel, from an installed distribution; files that the installer added are left out."""
    content = {}
    for file in distribution.files or []:
        added = file.parent.name.endswith(".dist-info") and file.name in _INSTALLER_FILES
        if not added and ".." not in file.parts and "__pycache__" not in file.parts:
            content[file.as_posix()] = file.read_binary()
    (info,) = {file.split("/")[0] for file in content if file.endswith(".dist-info/METADATA")}
    tags = re.search(r"^Tag: (\S+)", content[f"{info}/WHEEL"].decode(), re.MULTILINE)
    return f"{info.removesuffix('.dist-info')}-{tags[1] if tags else 'py3-none-any'}", content


def requirements(name: str) -> list[str]:
    """Requirements of an installed distribution, without blear and without those of extras."""
    return [
        text
        for text in Distribution.from_name(name).requires or []
        if "extra ==" not in text and not re.match(r"blear\b(?![-_.\w])", text)
    ]


def _drop_requirements(content: dict[str, bytes]) -> None:
    """Removes `Requires-Dist` from a wheel's METADATA, and updates the digest of METADATA in RECORD."""
    (metadata,) = (file for file in content if file.endswith(".dist-info/METADATA"))
    head, blank, body = content[metadata].partition(b"\n\n")
    head = b"\n".join(line for line in head.split(b"\n") if not line.startswith(b"Requires-Dist:"))
    content[metadata] = head + blank + body
    digest = base64.urlsafe_b64encode(hashlib.sha256(content[metadata]).digest()).rstrip(b"=").decode()
    record = metadata.replace("METADATA", "RECORD")
    lines = [line for line in content[record].decode().splitlines() if not line.startswith(f"{metadata},")]
    lines.append(f"{metadata},sha256={digest},{len(content[metadata])}")
    content[record] = ("\n".join(lines) + "\n").encode()


def _components(job: Job) -> set[str]:
    """Full names of all components of the job."""
    data = job.data.values()
    names = {use.use for use in data} | {use.stand_in.use for use in data if use.stand_in is not None}
    names |= {use.use for use in job.degradations}
    for stage in job.stages.values():
        names |= {use for _, use in stage.networks}
    return names | ({sweep.use for sweep in job.evaluate.sweeps.values()} if job.evaluate is not None else set())


def _distributions(job: Job) -> list[str]:
    """Distributions of the job's plugins, without blear itself."""
    used = {name.split("/")[0] for name in _components(job)}
    points = [point for point in entry_points(group="blear") if point.name in used and point.dist is not None]
    return sorted({point.dist.name for point in points if point.dist is not None} - {"blear"})


def _local_origin(distribution: Distribution) -> Path | None:
    """The folder or wheel that a distribution was installed from (PEP 610, direct_url.json); None: a registry."""
    text = distribution.read_text("direct_url.json")
    url = urlsplit(json.loads(text)["url"]) if text else None
    origin = Path(url2pathname(url.path)) if url is not None and url.scheme == "file" else None
    return origin if origin is not None and (origin.is_dir() or origin.suffix == ".whl") else None
