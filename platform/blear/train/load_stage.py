"""A stage that is only loaded (`steps: 0`): no optimizer, no data is read, batch statistics stay as they are."""

from __future__ import annotations

import time

from torch import nn

from blear.contracts import BuildContext
from blear.data.prepared import Prepared
from blear.errors import RunError
from blear.plugin.discovery import load_plugins
from blear.storage.run_folder import write_text
from blear.train.chains import stage_chains
from blear.train.model import build_for_loading, stage_frame_sampler
from blear.train.plan import StagePlan
from blear.train.result import save_weights, write_stage_record
from blear.train.transfer import Transfers, load_stage_weights, part_path, print_transfers

_STATISTICS = (".running_mean", ".running_var")


def load_stage(plan: StagePlan) -> None:
    """Builds the model of a stage, loads its weights, and writes model.safetensors, stage.json and an empty log.

    Raises:
        BlearError: the weights are missing or do not fit, or a parameter has no weights.
    """
    started, stage, job = time.monotonic(), plan.spec, plan.job
    catalog = load_plugins(plan.plugin_files)
    prepared = Prepared.open(plan.prepared[stage.data])
    sampler = stage_frame_sampler(stage, job.seed, prepared.clip)
    clip = prepared.clip if sampler is None else sampler.output_clip(prepared.clip)
    counts = prepared.split(stage.split or prepared.splits[0]).class_counts
    _, _, context = stage_chains(
        job, plan.stage, catalog, BuildContext(job.seed, clip, prepared.targets, counts=counts)
    )
    model = build_for_loading(catalog, stage, plan.stage, context)
    transfers = load_stage_weights(model, stage, plan.run)
    print_transfers(plan.stage, transfers)
    require_loaded(model, transfers, plan.stage)
    folder = plan.run.stage(plan.stage)
    folder.mkdir(parents=True, exist_ok=True)
    save_weights(model, folder)
    write_text(folder / "log.jsonl", "")
    write_stage_record(plan, model, transfers, seconds=time.monotonic() - started)


def require_loaded(model: nn.Module, transfers: Transfers, stage: str) -> None:
    """Checks that every parameter and every running mean and variance of a loaded model has its values from a source.

    Raises:
        RunError: no file is given, or a parameter or a statistic stays as initialised.
    """
    taken: set[str] = set()
    for part, report in transfers.items():
        if report is None:
            key = f"stages.{stage}.{part}{'.' if part else ''}start_from.file"
            raise RunError("the stage is only loaded, but no weight file is given", key, f"--set {key}=PATH")
        prefix = f"{part_path(part)}." if part else ""
        taken |= {prefix + name for name in report.taken}
    needed = [name for name, _ in model.named_parameters()]
    needed += [name for name, _ in model.named_buffers() if name.endswith(_STATISTICS)]
    random = [name for name in needed if name not in taken]
    if random:
        shown = ", ".join(random[:4]) + (f" and {len(random) - 4} more" if len(random) > 4 else "")
        do = "give `start_from` of each part, or of the whole stage; fix its `rename` and `take`; or train the stage"
        raise RunError(
            f"the stage is only loaded, but these have no values from a file or stage: {shown}", f"stages.{stage}", do
        )
