"""Changes of a job before it is checked: its profiles and `--set path=value`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from blear.errors import JobError
from blear.job.document import Document, parse_value


def apply_profile(document: Document, profile: str) -> None:
    """Assigns every `path: value` of one of the job's profiles.

    Raises:
        JobError: the job has no such profile, it is no mapping, or a path of it does not exist in the job.
    """
    profiles = document.data.get("profiles") or {}
    if not isinstance(profiles, dict):
        raise JobError("is no mapping of names", document.place(("profiles",)), "write profiles: {NAME: {PATH: VALUE}}")
    by_name = {str(name): name for name in profiles}
    if profile not in by_name:
        raise JobError(
            f"there is no profile {profile!r}", str(document.file), f"profiles: {', '.join(by_name) or 'none'}"
        )
    where = ("profiles", by_name[profile])
    values = profiles[by_name[profile]]
    if not isinstance(values, dict):
        raise JobError(
            f"profile {profile!r} is no mapping", document.place(where), "write `PATH: VALUE`, or {} for none"
        )
    for path, value in values.items():
        document.assign(str(path), value, document.place((*where, path)))


def apply_overrides(document: Document, overrides: Sequence[str] | Mapping[str, Any]) -> None:
    """Assigns `path=value` texts, or path -> value, in their order.

    Raises:
        JobError: a text is malformed, or its path does not exist in the job.
    """
    given = overrides.items() if isinstance(overrides, Mapping) else map(parse_override, overrides)
    for path, value in given:
        document.assign(str(path), value, f"--set {path}")


def parse_override(text: str) -> tuple[str, Any]:
    """Splits a `path=value` text into the path and the value, which is parsed as YAML.

    Raises:
        JobError: there is no `=`, or the value is not YAML.
    """
    path, equals, value = text.partition("=")
    if not equals:
        raise JobError("expected path=value", f"--set {text}", "for instance --set stages.joint.steps=100")
    try:
        return path, parse_value(value, f"--set {text}")
    except JobError as error:
        raise JobError(f"the value is not YAML: {error.what}", error.where, "quote the value") from error
