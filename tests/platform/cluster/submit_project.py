"""A user's project: a job with a one-file plugin and a plugin that is installed from a local folder."""

from __future__ import annotations

from pathlib import Path

BACKEND = '''"""A build backend without requirements, so that a wheel is built without any network."""
import zipfile
from pathlib import Path

INFO = "blear_gentle-0.1.dist-info"
REQUIRES = "Requires-Dist: blear>=0.1\\nRequires-Dist: no-such-thing\\n"
METADATA = f"Metadata-Version: 2.1\\nName: blear-gentle\\nVersion: 0.1\\n{REQUIRES}\\n"
WHEEL = "Wheel-Version: 1.0\\nGenerator: here\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
POINTS = "[blear]\\ngentle = blear_gentle\\n"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    files = {"blear_gentle.py": Path("blear_gentle.py").read_text(), f"{INFO}/METADATA": METADATA}
    files |= {f"{INFO}/WHEEL": WHEEL, f"{INFO}/entry_points.txt": POINTS}
    record = "".join(f"{name},,\\n" for name in [*files, f"{INFO}/RECORD"])
    name = "blear_gentle-0.1-py3-none-any.whl"
    with zipfile.ZipFile(Path(wheel_directory) / name, "w") as archive:
        for file, text in (files | {f"{INFO}/RECORD": record}).items():
            archive.writestr(file, text)
    return name
'''

PLUGIN = '''"""An identity degradation that waits for the file `go` in the storage folder."""
import os
import time
from pathlib import Path

from blear.contracts import Component

from blear.contracts import Params
from blear.hooks import hookimpl

PLUGIN_API = 1


class Nothing(Params):
    """No parameters."""


class Keep:
    def draw(self, keys):
        import torch  # not by the processes that only read the job

        return {"strength": torch.zeros(len(keys.samples_B))}

    def apply(self, frames_BTCHW, draws):
        while not Path(os.environ["BLEAR_STORAGE"], "go").exists():
            time.sleep(0.05)
        return frames_BTCHW

    def levels(self):
        return [{}]


@hookimpl
def register_degradations():
    return [Component(name="keep", summary="leaves frames as they are", params=Nothing, build=lambda p, c: Keep())]
'''

JOB = """#!/usr/bin/env -S blear run
name: tiny
plugins: [./plugins/file_plugin.py]
data:
  faces:
    {use: faces/procedural, size: 48, color: luma, targets: [valence], subjects: {train: 4, dev: 3}, per_subject: 4}
stages:
  only:
    data: faces
    degrade: [{use: file_plugin/keep}, {use: gentle/keep}]
    backbone: {use: vlqr/cnn5x5, width: 0.0625}
    head: {use: vlqr/valence}
    optimizer: {use: sgd, lr: 0.001}
    batch_size: 8
    steps: 4
    log_every: 1
    checkpoint_every: 2
"""


def make_project(root: Path) -> tuple[Path, Path]:
    """Writes the project; returns its folder and the folder of the installed local plugin.

    The second folder belongs on PYTHONPATH. It has the files that `pip install --editable` writes to site-packages.
    """
    project, source, installed = root / "project", root / "gentle", root / "site"
    (project / "plugins").mkdir(parents=True)
    (project / "job.yaml").write_text(JOB)
    (project / "plugins" / "file_plugin.py").write_text(PLUGIN)
    (project / ".gitignore").write_text("/runs/\n*.big\n")
    source.mkdir()
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    )
    (source / "backend.py").write_text(BACKEND)
    (source / "blear_gentle.py").write_text(PLUGIN)
    info = installed / "blear_gentle-0.1.dist-info"
    info.mkdir(parents=True)
    (installed / "blear_gentle.py").symlink_to(source / "blear_gentle.py")
    requires = "Requires-Dist: blear>=0.1\nRequires-Dist: no-such-thing\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: blear-gentle\nVersion: 0.1\n{requires}\n")
    (info / "entry_points.txt").write_text("[blear]\ngentle = blear_gentle\n")
    (info / "direct_url.json").write_text(f'{{"url": "{source.as_uri()}", "dir_info": {{"editable": true}}}}')
    return project, installed
