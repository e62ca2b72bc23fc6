"""Plugins that are installed here from a local folder, as wheels for the cluster.

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
from blear.job import Job


def local_plugins(job: Job) -> dict[str, Path]:
    """Distributions of the job's plugins that are installed from a folder here: name -> folder. Not blear itself."""
    used = {name.split("/")[0] for name in _components(job)}
    found = {}
    for point in entry_points(group="blear"):
        if point.name in used and point.dist is not None and point.dist.name != "blear":
            folder = _folder(point.dist)
            if folder is not None:
                found[point.dist.name] = folder
    return found


def build_wheel(name: str, folder: Path, target: Path) -> Path:
    """Builds a plugin's wheel into `target`, without its requirements; the file name carries a digest of the content.

    Ray keeps a wheel under its file name, so a changed plugin of the same version would not be sent again.

    Raises:
        PluginError: it cannot be built; with the last lines of pip.
    """
    into = target / name
    command = [sys.executable, "-m", "pip", "wheel", "--no-color", "--no-deps", "--wheel-dir", str(into), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(into.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-16:])
        raise PluginError(f"its wheel cannot be built:\n{last}", f"{name} ({folder})", "mend its pyproject.toml")
    with zipfile.ZipFile(wheels[0]) as archive:
        content = {part.filename: archive.read(part) for part in archive.infolist() if not part.is_dir()}
    _drop_requirements(content)
    digest = hashlib.sha256()
    for file in sorted(content):
        digest.update(f"{file}\n{len(content[file])}\n".encode() + content[file])
    project, version, *tags = wheels[0].name.removesuffix(".whl").split("-")
    path = target / ("-".join([project, version, f"0{digest.hexdigest()[:12]}", *tags[-3:]]) + ".whl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in content.items():
            archive.writestr(file, data)
    return path


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


def _folder(distribution: Distribution) -> Path | None:
    """The folder that a distribution was installed from, as pip notes it (PEP 610)."""
    text = distribution.read_text("direct_url.json")
    url = urlsplit(json.loads(text)["url"]) if text else None
    folder = Path(url2pathname(url.path)) if url is not None and url.scheme == "file" else None
    return folder if folder is not None and folder.is_dir() else None
