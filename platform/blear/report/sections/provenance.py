"""What was run: arms, stages, data and their terms, versions, and the job."""

from __future__ import annotations

from blear.report.section import Section
from blear.report.view import View


def section(view: View) -> Section:
    """Facts of run.json, stage.json and job.yaml; its template reads them from the view."""
    return Section("provenance", "What was run", facts={"arms": {(a.run.root, a.name): a for a in view.arms}})
