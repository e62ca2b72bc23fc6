"""`blear.load`: a model by its name, its files or its run."""

from __future__ import annotations

from pathlib import Path

from blear.errors import RunError
from blear.models.card import CARD_FILE
from blear.models.from_run import stage_model
from blear.models.model import Model, load_model_files
from blear.models.shipped import find_model, is_shipped

_STAGES = "stages"


def load(model: str | Path, *, stage: str | None = None) -> Model:
    """Loads a trained model, on the CPU and in evaluation mode; `.to("cuda")` moves it.

    Example:
        model = blear.load("runs/vlqr", stage="joint")
        values = model(pictures)["valence"]

    Args:
        model: name of a model that an installed plugin ships (it goes before a folder of the same name; write `./NAME`
            for the folder); a model folder (card.json and model.safetensors); a weights file that `Model.save` wrote;
            a run folder; or the folder of one of its stages, `runs/NAME/stages/STAGE`.
        stage: the stage of a run; None: the last one.

    Raises:
        RunError: there is no such model, it is damaged or not fully trained, or it has no such stage; or a stage is
            given, and the model is no run.
        PluginError: the network needs a component that is not installed.
    """
    if isinstance(model, str) and is_shipped(model):
        _require_no_stage(model, stage)
        return load_model_files(find_model(model).folder)
    path = Path(model).expanduser()
    if not path.exists():
        find_model(str(model))  # raises, and names what there is
    folder = path if path.is_dir() else path.parent
    if folder.parent.name == _STAGES and (folder / "stage.json").is_file():
        _require_no_stage(model, None if stage == folder.name else stage)
        return stage_model(folder.parent.parent, folder.name)
    if path.is_file() or (path / CARD_FILE).is_file():
        _require_no_stage(model, stage)
        return load_model_files(path)
    return stage_model(path, stage)


def _require_no_stage(model: str | Path, stage: str | None) -> None:
    """Raises a RunError where a stage is given for a model that is no run."""
    if stage is not None:
        raise RunError(f"is no run, so it has no stage {stage!r} to choose", str(model), "leave the stage out")
