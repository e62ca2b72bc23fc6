"""The versions in run.json follow from the requirements of the distribution."""

from __future__ import annotations

from importlib.metadata import version

from blear.pipeline.run_info import installed_versions


def test_versions_cover_the_distribution_and_its_requirements() -> None:
    versions = installed_versions()
    assert next(iter(versions)) == "blear"
    for name in ("torch", "numpy", "ray", "webdataset"):
        assert versions[name] == version(name)
