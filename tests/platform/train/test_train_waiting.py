"""What a stage says while it waits for nodes: exact sentences for situations of a cluster, limits from real files."""

from __future__ import annotations

from pathlib import Path

import pytest

from blear.train.on_ray.waiting import Limits, NodeType, Situation, describe, read_limits

SPOT = NodeType("gpu_spot", 8, {"CPU": 8.0, "GPU": 1.0})
DEMAND = NodeType("gpu_on_demand", 4, {"CPU": 8.0, "GPU": 1.0})
LIMITS = Limits(8, (SPOT, DEMAND))
GPU = {"CPU": 1.0, "GPU": 1.0}
HEAD = {"memory": 1e9}


def test_nothing_is_said_when_all_have_their_place_or_will_have_it_at_once() -> None:
    assert describe(2, GPU, Situation(free=({"CPU": 8, "GPU": 2},)), LIMITS) == ""
    assert describe(2, GPU, Situation(free=({"CPU": 8, "GPU": 1}, {"CPU": 8, "GPU": 1})), LIMITS) == ""
    assert describe((1, 2), GPU, Situation(free=(HEAD,), placed=2), LIMITS) == ""


def test_what_is_awaited_and_what_may_come() -> None:
    assert describe((1, 2), GPU, Situation(free=(HEAD, {"CPU": 16})), LIMITS) == (
        "waiting for 1 to 2 workers of 1 CPU, 1 GPU: the cluster has room for 0 now; "
        "the autoscaler may add up to 8 x gpu_spot (8 CPU, 1 GPU) or 4 x gpu_on_demand (8 CPU, 1 GPU)"
    )
    one = Situation(free=(HEAD, {"CPU": 8, "GPU": 1}), nodes={"gpu_spot": 6}, starting={"gpu_spot": 1})
    assert describe(2, GPU, one, LIMITS) == (
        "waiting for 2 workers of 1 CPU, 1 GPU: the cluster has room for 1 now; starting 1 x gpu_spot; "
        "the autoscaler may add up to 1 x gpu_spot (8 CPU, 1 GPU) or 1 x gpu_on_demand (8 CPU, 1 GPU)"
    )


def test_a_launch_that_was_refused_is_said_with_its_reason() -> None:
    refused = Situation(failed={"gpu_spot": "InsufficientInstanceCapacity"}, starting={"gpu_on_demand": 1})
    text = describe(1, GPU, refused, Limits(1, (SPOT, DEMAND)))
    assert text == (
        "waiting for 1 worker of 1 CPU, 1 GPU: the cluster has room for 0 now; starting 1 x gpu_on_demand; "
        "no gpu_spot could be started (InsufficientInstanceCapacity)"
    )


def test_an_elastic_stage_that_trains_says_what_it_could_grow_to() -> None:
    assert describe((1, 4), GPU, Situation(nodes={"gpu_spot": 8}, placed=2), LIMITS) == (
        "training with 2 workers of 1 CPU, 1 GPU, up to 4 when there is room: the autoscaler is at its limit"
    )


@pytest.mark.parametrize(
    ("bundle", "limits", "autoscaler", "expected"),
    [
        (GPU, Limits(4, (NodeType("cpu", 4, {"CPU": 16.0}),)), True, "nothing that the autoscaler may add has a GPU"),
        (
            {"CPU": 32.0, "GPU": 1.0},
            LIMITS,
            True,
            "nothing that the autoscaler may add has 32 CPU, 1 GPU on one node",
        ),
        (GPU, None, False, "no autoscaler runs: add nodes to the cluster, or lower cluster.workers"),
        (GPU, None, True, "what the autoscaler may add is set in the cluster's own definition"),
    ],
)
def test_what_can_never_come(bundle: dict[str, float], limits: Limits | None, autoscaler: bool, expected: str) -> None:
    text = describe(2, bundle, Situation(free=(HEAD,), autoscaler=autoscaler), limits)
    assert text.endswith(f"the cluster has room for 0 now; {expected}")


def test_limits_come_from_the_launcher_file(repository: Path, tmp_path: Path) -> None:
    limits = read_limits(repository / "cluster.yaml")
    assert limits is not None
    assert limits.workers == 8
    assert limits.types == (DEMAND, SPOT)
    assert read_limits(tmp_path / "none.yaml") is None
    for text in ("- a list\n", "head_node_type: head\n", "a: [\n", "max_workers: many\nhead_node_type: h\n"):
        (tmp_path / "wrong.yaml").write_text(text)
        assert read_limits(tmp_path / "wrong.yaml") is None
