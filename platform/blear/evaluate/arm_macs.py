"""Multiply-accumulates of the models of an arm, which the report shows beside the bit rates."""

from __future__ import annotations

import torch
from torch import Tensor

from blear.evaluate.evaluator import Evaluator
from blear.evaluate.restoration import restore
from blear.job.schema import Arm
from blear.train.macs import count_macs


def arm_macs(evaluator: Evaluator, arm: Arm) -> int:
    """Counts the multiply-accumulates for one face, with its restoration; of a clip, for each of its frames.

    Experts: those of the first level that has a stage.
    """
    level = next(level for level in evaluator.levels if evaluator.stage_of(arm, level) is not None)
    stage = level.format_stage(arm.stage)
    clip = evaluator.clip_context(stage)[1].clip or evaluator.clip
    model = evaluator.model(stage)
    restorer = None if arm.restore is None else evaluator.model(level.format_stage(arm.restore))

    def run(frames_BTCHW: Tensor) -> object:
        return model(frames_BTCHW if restorer is None else restore(restorer, frames_BTCHW))

    frames = torch.zeros(1, clip.length, clip.channels, clip.height, clip.width, device=evaluator.device)
    return count_macs(run, frames) // clip.length
