"""Parameters that all readers of own data share: colour and fit of the clips, and the drawn splits."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from blear.clips import Fit
from blear.contracts import Params

Side = Annotated[int, Field(ge=4, le=4096)]
Share = Annotated[float, Field(gt=0, lt=1)]


class ClipParams(Params):
    """Size, colour and length of the clips."""

    fit: Fit = Field(
        "crop",
        description="how a picture gets the shape of `size`. crop: its centre is cut out; stretch: its sides are "
        "scaled apart; pad: black borders are added",
    )
    color: Literal["rgb", "grey"] = Field("rgb", description="three channels (rgb), or one (grey: BT.601 luma)")
    length: int = Field(8, ge=1, le=1000, description="frames of a video, evenly spaced over it; a picture has one")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return 3 if self.color == "rgb" else 1


class SplitParams(Params):
    """How samples are divided into splits where the data have no test split."""

    test: Share | None = Field(
        None,
        description="share of the samples in the split `test`, if the data have none: drawn by a hash of the subject, "
        "else of the video, else of the key, the same on every machine. null: 0.2 if the data have no split at all",
    )
    dev: Share | None = Field(
        None, description="share of the samples in the split `dev`, drawn as `test` is; null: no such split is drawn"
    )
    folds: int | None = Field(
        None, ge=2, le=100, description="cross-validation: number of folds; fold number `fold` is the split `test`"
    )
    fold: int = Field(0, ge=0, description="the fold that is tested, from 0; each fold is a run of its own")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if self.folds is not None and self.test is not None:
            raise ValueError("give `test` or `folds`, one of them")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds} folds; folds count from 0")
        if (self.test or 0) + (self.dev or 0) + (1 / self.folds if self.folds else 0) >= 1:
            raise ValueError("`test` and `dev` leave no sample for training")
        if self.folds is not None and self.dev is not None:
            before = self.fold / self.folds
            if self.dev > max(before, 1 - before - 1 / self.folds):
                raise ValueError(f"`dev: {self.dev:g}` does not fit before or after fold {self.fold} of {self.folds}")
        return self

    @property
    def drawn(self) -> bool:
        """Whether the job asks for a drawn split."""
        return self.test is not None or self.dev is not None or self.folds is not None

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Split -> range of positions in hash order, from 0 to 1, that it gets; the training split gets the rest."""
        test = (0.0, 0.2 if self.test is None else self.test)
        if self.folds is not None:
            test = (self.fold / self.folds, (self.fold + 1) / self.folds)
        if self.dev is None:
            return {"test": test}
        start = test[1] if test[1] + self.dev <= 1 else 0.0
        return {"dev": (start, start + self.dev), "test": test}
