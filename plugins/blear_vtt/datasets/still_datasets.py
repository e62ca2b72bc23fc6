"""The datasets of still faces: AffectNet, RAF, and their concatenation."""

from __future__ import annotations

from blear.contracts import BuildContext
from blear_vtt.datasets import affectnet, raf
from blear_vtt.datasets.params import AffectNetParams, RafParams, StillsParams
from blear_vtt.datasets.stills import StillDataset


class AffectNetFaces(StillDataset):
    """`vtt/affectnet`."""

    terms = affectnet.TERMS

    def __init__(self, params: AffectNetParams, context: BuildContext) -> None:
        super().__init__(params, {"affectnet": affectnet.AffectNet(params.source)})


class RafFaces(StillDataset):
    """`vtt/raf`."""

    terms = raf.TERMS

    def __init__(self, params: RafParams, context: BuildContext) -> None:
        super().__init__(params, {"raf": raf.Raf(params.source, params.packages)})


class BothFaces(StillDataset):
    """`vtt/stills`: AffectNet, then RAF. `meta.source` is `affectnet` or `raf`."""

    terms = f"{affectnet.TERMS} {raf.TERMS}"

    def __init__(self, params: StillsParams, context: BuildContext) -> None:
        first = affectnet.AffectNet(params.affectnet or params.source / "affectnet")
        second = raf.Raf(params.raf or params.source / "raf", params.packages)
        super().__init__(params, {"affectnet": first, "raf": second})
