"""Suites: versioned lists of degradations with fixed severities and seed, so that two cards can be compared.

A plugin ships suites as `suites/NAME.yaml` in its package, without registration.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML, YAMLError

from blear.errors import JobError, first_line
from blear.job.schema import Evaluate
from blear.models.shipped import package_folders_of_plugins
from blear.plugin.uses import StrictModel

_ARM = {"arms": {"model": {"stage": "model"}}}


class SuiteFile(StrictModel):
    """Content of a suite's file."""

    version: int = Field(ge=1, description="raised with each change of the conditions or the seed")
    summary: str = Field(description="one sentence")
    seed: int = Field(0, description="seed of the degradations and of the bootstrap resamples")
    extends: str | None = Field(None, description="name of a suite whose conditions come first")
    sweep: list[dict[str, Any]] = Field([], description="conditions, as in the `evaluate` section of a job")


@dataclass(frozen=True)
class Suite:
    """A suite.

    Attributes:
        name: name of the file.
        version: of the file; the versions of the suites that it extends are part of `sha256` only.
        evaluate: clean pictures, then the conditions. The section `arms` is a placeholder.
        sha256: digest of seed and conditions.
    """

    name: str
    version: int
    summary: str
    seed: int
    evaluate: Evaluate
    sha256: str

    @property
    def identity(self) -> dict[str, Any]:
        """The entry `suite` of run.json."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256}


def suites() -> dict[str, Path]:
    """Name -> file of the suites of all installed plugins, by name."""
    found = {
        file.stem: file for _, root in package_folders_of_plugins() for file in sorted(root.glob("suites/[!.]*.yaml"))
    }
    return dict(sorted(found.items()))


def find_suite(name: str) -> Suite:
    """Reads a suite by its name, or by the path of its file.

    Raises:
        JobError: there is no such suite, or its file has mistakes.
    """
    known = suites()
    file = known.get(name, Path(name))
    if name not in known and file.suffix not in (".yaml", ".yml"):
        close = difflib.get_close_matches(name, known, n=1)
        do = f"did you mean {close[0]!r}?" if close else f"use one of: {', '.join(known)}; or the path of a file"
        raise JobError(f"there is no suite {name!r}", "--suite", do)
    content = _read(file)
    entries = [*(_entries(content.extends, (name,)) if content.extends else []), *content.sweep]
    try:
        evaluate = Evaluate.model_validate({**_ARM, "clean": True, "sweep": entries})
    except ValidationError as error:
        raise _mistake(error, file) from error
    canonical = json.dumps([content.seed, entries], sort_keys=True)
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    return Suite(file.stem, content.version, content.summary, content.seed, evaluate, digest)


def _entries(name: str, within: tuple[str, ...]) -> list[dict[str, Any]]:
    """The conditions of an extended suite."""
    known = suites()
    if name not in known or name in within:
        raise JobError(f"`extends` names no other suite: {name!r}", within[-1], f"use one of: {', '.join(known)}")
    content = _read(known[name])
    return [*(_entries(content.extends, (*within, name)) if content.extends else []), *content.sweep]


def _read(file: Path) -> SuiteFile:
    try:
        return SuiteFile.model_validate(YAML(typ="safe", pure=True).load(file.read_text()))
    except OSError as error:
        raise JobError(f"no suite: {error.strerror}", str(file), "check the path") from error
    except ValidationError as error:
        raise _mistake(error, file) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise JobError(f"no YAML: {first_line(error)}", str(file), "fix the file") from error


def _mistake(error: ValidationError, file: Path) -> JobError:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or "the file"
    return JobError(f"{where}: {first['msg']}", str(file), "write version, summary, seed, extends and sweep")
