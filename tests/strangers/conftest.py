"""A virtual environment outside the repository, in which third-party plugins are installed beside blear."""

from __future__ import annotations

import os
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from strangers_outside import Outside


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Outside:
    """A virtual environment for each test file, so that packages installed by one file are not seen by another.

    It needs no network: pip builds with the installed packages and uses no index.
    """
    folder = tmp_path_factory.mktemp("outside")
    home = folder / "environment"
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    (site / "parent.pth").write_text(f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n")
    for name, code in {
        "blear": "from blear.__main__ import main",
        "pip": "from pip._internal.cli.main import main",
        "pytest": "from pytest import console_main as main",
    }.items():
        script = home / "bin" / name
        script.write_text(
            f"#!{home / 'bin' / 'python'}\n{code}\nif __name__ == '__main__':\n    raise SystemExit(main())\n"
        )
        script.chmod(0o755)
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH", "PYTEST"))}
    work = folder / "work"
    work.mkdir()
    return Outside(
        work,
        keep
        | {
            "PATH": f"{home / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "BLEAR_STORAGE": str(folder / "storage"),
            "OMP_NUM_THREADS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # the value of pip's option: no isolation
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        },
    )
