"""The message of a stage that waits for nodes: exact sentences for cluster states, limits from real launcher files."""

from __future__ import annotations

from pathlib import Path

import pytest

from blear.train.on_ray.cluster_status import (
    AutoscalerLimits,
    ClusterStatus,
    NodeType,
    read_autoscaler_limits,
)
from blear.train.on_ray.waiting import describe_waiting

SPOT = NodeType("gpu_spot", 8, {"CPU": 8.0, "GPU": 1.0})
DEMAND = NodeType("gpu_on_demand", 4, {"CPU": 8.0, "GPU": 1.0})
LIMITS = AutoscalerLimits(8, (SPOT, DEMAND))
GPU = {"CPU": 1.0, "GPU": 1.0}
HEAD = {"memory": 1e9}


def test_no_message_when_all_workers_are_scheduled_or_fit() -> None:
    assert describe_waiting(2, GPU, 0, ClusterStatus(free=({"CPU": 8, "GPU": 2},)), LIMITS) == ""
    assert describe_waiting(2, GPU, 0, ClusterStatus(free=({"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1})), LIMITS) == ""
    assert describe_waiting((1, 2), GPU, 2, ClusterStatus(free=(HEAD,)), LIMITS) == ""


def test_message_names_missing_workers_and_nodes_that_may_be_added() -> None:
    assert describe_waiting((1, 2), GPU, 0, ClusterStatus(free=(HEAD, {"CPU": 16})), LIMITS) == (
        "waiting for 1 to 2 workers of 1 CPU, 1 GPU: the cluster has room for 0 now; "
        "the autoscaler may add up to 8 x gpu_spot (8 CPU, 1 GPU) or 4 x gpu_on_demand (8 CPU, 1 GPU)"
    )
    one = ClusterStatus(free=(HEAD, {"CPU": 8, "GPU": 1}), nodes={"gpu_spot": 6}, starting={"gpu_spot": 1})
    assert describe_waiting(2, GPU, 0, one, LIMITS) == (
        "waiting for 2 workers of 1 CPU, 1 GPU: the cluster has room for 1 now; starting 1 x gpu_spot; "
        "the autoscaler may add up to 1 x gpu_spot (8 CPU, 1 GPU) or 1 x gpu_on_demand (8 CPU, 1 GPU)"
    )


def test_message_names_a_failed_launch_with_its_reason() -> None:
    refused = ClusterStatus(failed={"gpu_spot": "InsufficientInstanceCapacity"}, starting={"gpu_on_demand": 1})
    text = describe_waiting(1, GPU, 0, refused, AutoscalerLimits(1, (SPOT, DEMAND)))
    assert text == (
        "waiting for 1 worker of 1 CPU, 1 GPU: the cluster has room for 0 now; starting 1 x gpu_on_demand; "
        "no gpu_spot could be started (InsufficientInstanceCapacity)"
    )


def test_message_of_a_training_elastic_stage_names_its_largest_size() -> None:
    assert describe_waiting((1, 4), GPU, 2, ClusterStatus(nodes={"gpu_spot": 8}), LIMITS) == (
        "training with 2 workers of 1 CPU, 1 GPU, up to 4 when there is room: the autoscaler is at its limit"
    )


@pytest.mark.parametrize(
    ("bundle", "limits", "autoscaler", "expected"),
    [
        (
            GPU,
            AutoscalerLimits(4, (NodeType("cpu", 4, {"CPU": 16.0}),)),
            True,
            "no node type of the autoscaler has a GPU: set cluster.gpu=false",
        ),
        (
            {"CPU": 32.0, "GPU": 1.0},
            LIMITS,
            True,
            "no node type of the autoscaler has 32 CPU, 1 GPU on one node",
        ),
        (
            GPU,
            None,
            False,
            "no autoscaler runs: add nodes to the cluster, or set cluster.gpu=false, because no node has a GPU",
        ),
        ({"CPU": 1.0}, None, False, "no autoscaler runs: add nodes to the cluster, or lower cluster.workers"),
        (GPU, None, True, "what the autoscaler may add is set in the cluster's own definition"),
    ],
)
def test_message_when_no_node_can_be_added(
    bundle: dict[str, float], limits: AutoscalerLimits | None, autoscaler: bool, expected: str
) -> None:
    text = describe_waiting(2, bundle, 0, ClusterStatus(free=(HEAD,), autoscaler=autoscaler), limits)
    assert text.endswith(f"the cluster has room for 0 now; {expected}")


def test_limits_are_read_from_the_launcher_file(repository: Path, tmp_path: Path) -> None:
    limits = read_autoscaler_limits(repository / "cluster.yaml")
    assert limits is not None
    assert limits.workers == 8
    assert limits.types == (DEMAND, SPOT)
    assert read_autoscaler_limits(tmp_path / "none.yaml") is None
    for text in ("- a list\n", "head_node_type: head\n", "a: [\n", "max_workers: many\nhead_node_type: h\n"):
        (tmp_path / "wrong.yaml").write_text(text)
        assert read_autoscaler_limits(tmp_path / "wrong.yaml") is None
