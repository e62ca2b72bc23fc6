"""Plugins that are installed here from a local folder or wheel, as wheels for the cluster.

A folder in `py_modules` would bring the code without its entry points, and the plugin would not be found. A wheel there
is installed together with everything it requires, another blear included; so its requirements are taken out, and have
to be on the nodes.
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

_BY_INSTALLER = ("INSTALLER", "REQUESTED", "direct_url.json")


def local_plugins(job: Job) -> dict[str, Path]:
    """Distributions of the job's plugins that no registry has: name -> folder or wheel that it was installed from."""
    places = {name: _place(Distribution.from_name(name)) for name in _distributions(job)}
    return {name: place for name, place in places.items() if place is not None}


def registry_plugins(job: Job) -> list[str]:
    """The other distributions of the job's plugins, as pip names them: `name==version`."""
    dists = [Distribution.from_name(name) for name in _distributions(job)]
    return [f"{dist.name}=={dist.version}" for dist in dists if _place(dist) is None]


def build_wheel(name: str, place: Path, target: Path) -> Path:
    """Builds a plugin's wheel into `target`, without its requirements; the file name carries a digest of the content.

    From a folder by pip; what was installed from a wheel is packed again, for the wheel may be gone. Ray keeps a wheel
    under its file name, so a changed plugin of the same version would not be sent again.

    Raises:
        PluginError: it cannot be built; with the last lines of pip.
    """
    stem, content = _built(name, place, target / name) if place.is_dir() else _packed(Distribution.from_name(name))
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


def _built(name: str, folder: Path, into: Path) -> tuple[str, dict[str, bytes]]:
    """What pip builds of a folder: the wheel's name without its ending, and its files."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-color", "--no-deps", "--wheel-dir", str(into), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-16:])
        raise PluginError(f"its wheel cannot be built:\n{last}", f"{name} ({folder})", "mend its pyproject.toml")
    with zipfile.ZipFile(wheels[0]) as archive:
        content = {part.filename: archive.read(part) for part in archive.infolist() if not part.is_dir()}
    return wheels[0].name.removesuffix(".whl"), content


def _packed(distribution: Distribution) -> tuple[str, dict[str, bytes]]:
    """The same of an installed distribution: its files without what the installer added."""
    content = {}
    for file in distribution.files or []:
        added = file.parent.name.endswith(".dist-info") and file.name in _BY_INSTALLER
        if not added and ".." not in file.parts and "__pycache__" not in file.parts:
            content[file.as_posix()] = file.read_binary()
    (info,) = {file.split("/")[0] for file in content if file.endswith(".dist-info/METADATA")}
    tags = re.search(r"^Tag: (\S+)", content[f"{info}/WHEEL"].decode(), re.MULTILINE)
    return f"{info.removesuffix('.dist-info')}-{tags[1] if tags else 'py3-none-any'}", content


def requirements(name: str) -> list[str]:
    """What an installed distribution requires beside blear, its optional extras left out."""
    return [
        text
        for text in Distribution.from_name(name).requires or []
        if "extra ==" not in text and not re.match(r"blear\b(?![-_.\w])", text)
    ]


def _drop_requirements(content: dict[str, bytes]) -> None:
    """Takes `Requires-Dist` out of a wheel's METADATA and notes its new digest in RECORD."""
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
    """Full names of every component that the job uses."""
    data = job.data.values()
    names = {use.use for use in data} | {use.stand_in.use for use in data if use.stand_in is not None}
    names |= {use.use for use in job.degradations}
    for stage in job.stages.values():
        names |= {stage.backbone.use, stage.head.use}
    return names | ({sweep.use for sweep in job.evaluate.sweeps.values()} if job.evaluate is not None else set())


def _distributions(job: Job) -> list[str]:
    """Distributions of the plugins that the job uses, blear itself left out."""
    used = {name.split("/")[0] for name in _components(job)}
    points = [point for point in entry_points(group="blear") if point.name in used and point.dist is not None]
    return sorted({point.dist.name for point in points if point.dist is not None} - {"blear"})


def _place(distribution: Distribution) -> Path | None:
    """The folder or wheel that a distribution was installed from, as pip notes it (PEP 610); None: a registry."""
    text = distribution.read_text("direct_url.json")
    url = urlsplit(json.loads(text)["url"]) if text else None
    place = Path(url2pathname(url.path)) if url is not None and url.scheme == "file" else None
    return place if place is not None and (place.is_dir() or place.suffix == ".whl") else None
