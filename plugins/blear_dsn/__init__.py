"""Deeply supervised networks: side outputs with short connections, fused (Fan, Lam, Li, ICMI 2018)."""

from __future__ import annotations

PLUGIN_API = 1
