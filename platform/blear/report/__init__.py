"""Run folders in, one self-contained HTML page out; and the robustness curve as a picture."""

from blear.report.page import build, compare, curve_png

__all__ = ["build", "compare", "curve_png"]
