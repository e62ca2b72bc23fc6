"""A run folder in, one self-contained HTML page out; and the robustness curve as a picture."""

from blear.report.page import build, curve_png

__all__ = ["build", "curve_png"]
