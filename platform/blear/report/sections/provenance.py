"""Provenance of the runs: arms, stages, data and their terms, versions, and the job."""

from __future__ import annotations

from blear.report.section import Section
from blear.report.view import View


def section(view: View) -> Section:
    """The template reads run.json, stage.json and job.yaml from the view."""
    return Section("provenance", "What was run", context={"arms": {(a.run.root, a.name): a for a in view.arms}})
