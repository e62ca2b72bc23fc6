"""Writes the report of one or several runs as a self-contained HTML page, and the robustness curve as a picture."""

from blear.report.page import build, compare, curve_png

__all__ = ["build", "compare", "curve_png"]
