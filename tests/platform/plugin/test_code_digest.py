"""The digest of blear's own code."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import blear
from blear.errors import PluginError
from blear.plugin.code_digest import call_with_code, code_digest

PRINT = "from blear.plugin.code_digest import code_digest; print(code_digest())"


def printed(folder):
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", PRINT], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_digest_names_a_state_of_the_code(tmp_path):
    copy = tmp_path / "blear"
    shutil.copytree(Path(blear.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert printed(tmp_path) == code_digest()  # the place does not matter
    (copy / "notes.txt").write_text("no code")
    assert printed(tmp_path) == code_digest()
    with (copy / "train" / "loop.py").open("a") as file:
        file.write("# changed\n")
    changed = printed(tmp_path)
    assert changed != code_digest()
    (copy / "train" / "loop.py").rename(copy / "train" / "loops.py")
    assert printed(tmp_path) not in (changed, code_digest())


def test_a_call_with_other_code_is_refused():
    assert call_with_code(code_digest(), max, 3, 4) == 4
    with pytest.raises(PluginError, match=r"the code of blear differs .* \(version \S+ here\).*\n.*same wheel"):
        call_with_code("0" * 64, max, 3, 4)
