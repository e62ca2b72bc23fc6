"""VTT: the emotion timeline of TV video, ResNet-18 with a causal temporal shift."""

from __future__ import annotations

PLUGIN_API = 1
