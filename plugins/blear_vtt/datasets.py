"""Builders of the datasets of still faces: AffectNet, RAF, and both as one."""

from __future__ import annotations

from blear.contracts import BuildContext
from blear_vtt import affectnet, raf
from blear_vtt.data_params import AffectNetParams, RafParams, StillsParams
from blear_vtt.stills import StillDataset, StillSource


def build_affectnet(params: AffectNetParams, context: BuildContext) -> StillDataset:
    """Builds `vtt/affectnet`."""
    return StillDataset(params, {"affectnet": affectnet.AffectNet(params.source)}, affectnet.TERMS)


def build_raf(params: RafParams, context: BuildContext) -> StillDataset:
    """Builds `vtt/raf`."""
    return StillDataset(params, {"raf": raf.Raf(params.source, params.packages)}, raf.TERMS)


def build_stills(params: StillsParams, context: BuildContext) -> StillDataset:
    """Builds `vtt/stills`: AffectNet, then RAF; `meta.source` tells them apart."""
    sources: dict[str, StillSource] = {
        "affectnet": affectnet.AffectNet(params.affectnet or params.source / "affectnet"),
        "raf": raf.Raf(params.raf or params.source / "raf", params.packages),
    }
    return StillDataset(params, sources, f"{affectnet.TERMS} {raf.TERMS}")
