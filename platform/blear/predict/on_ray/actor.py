"""Predicts a group of inputs in each call. The classes and functions here need no Ray."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from blear.plugin.code_digest import require_code
from blear.predict.inputs import Input
from blear.predict.journal import record_line
from blear.predict.one_input import predict_input
from blear.predict.options import PredictOptions, open_predictor
from blear.predict.rows import Labels
from blear.predict.run import predicted_targets


def to_row(group: Sequence[Input]) -> dict[str, str]:
    """A group of inputs as a row of a Ray dataset; paths are absolute, because workers have other working folders."""
    inputs = [
        {
            "given": source.name,
            "path": str(source.path.absolute()),
            "is_picture": source.is_picture,
            "is_folder": source.is_folder,
        }
        for source in group
    ]
    return {"inputs": json.dumps(inputs)}


class InputPredictor:
    """A worker process: the model is loaded once.

    Args:
        options: of the command.
        every: see `open_predictor`.
        code: `code_digest` where the command was started.
    """

    def __init__(self, options: PredictOptions, every: int, code: str) -> None:
        require_code(code)
        self._predictor, _ = open_predictor(options, every)
        self._abstain = options.abstain

    def __call__(self, row: Mapping[str, str]) -> list[dict[str, Any]]:
        """Predicts the inputs of a row of `to_row`.

        Returns:
            For each input: name; facts: JSON, see `predict_input`; records: lines of `record_line`; host.
        """
        inputs = [Input(**fields | {"path": Path(fields["path"])}) for fields in json.loads(row["inputs"])]
        return [self._predict(source) for source in inputs]

    def _predict(self, source: Input) -> dict[str, Any]:
        lines: list[str] = []

        def on_record(record: Mapping[str, Any]) -> None:
            lines.append(f"{record_line(record)}\n")

        try:
            facts = predict_input(self._predictor, source, on_record, "", self._abstain)
        except Exception as error:  # noqa: BLE001 - one input must not end the prediction of all others
            facts = {"frames": 0, "faces": len(lines), "error": f"{type(error).__name__}: {error}"}
        return {
            "name": source.name,
            "facts": json.dumps(facts),
            "records": "".join(lines).encode(),
            "host": socket.gethostname(),
        }


def describe_model(options: PredictOptions, every: int) -> tuple[dict[str, Any], list[str], Labels]:
    """Returns the settings of `open_predictor`, the targets of the model, and the labels of its class targets."""
    predictor, settings = open_predictor(options, every)
    return settings, predicted_targets(predictor.model), predictor.model.labels
