"""The cluster files: valid for Ray's launcher and KubeRay, and as docs/cluster.md describes them."""

from __future__ import annotations

import copy
import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from blear.train.on_ray.cluster_status import read_autoscaler_limits

LAUNCHER = ["cluster.yaml", "docs/cluster/gcp.yaml", "docs/cluster/on_premise.yaml"]
CLOUDS = LAUNCHER[:2]


def read(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_up_accepts_the_file_and_refuses_a_misspelling(name: str, repository: Path) -> None:
    config = read(repository / name)
    validate_config(prepare_config(copy.deepcopy(config)))
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        validate_config(prepare_config(config | {"idle_timeout": 5}))


@pytest.mark.parametrize("name", LAUNCHER)
def test_token_loopback_limits(name: str, repository: Path) -> None:
    config = prepare_config(read(repository / name))
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    (start,) = (c for c in config["head_start_ray_commands"] if "ray start --head" in c)
    assert "--dashboard-host=127.0.0.1" in start
    for command in [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]:
        assert command.startswith(". ~/blear.env;")
    assert 0 < config["max_workers"] <= 8
    assert 0 < config["idle_timeout_minutes"] <= 10
    for kind, spec in config["available_node_types"].items():
        assert spec["min_workers"] == 0, kind


@pytest.mark.parametrize("name", LAUNCHER)
def test_setup_commands_are_valid_shell_and_write_the_environment(name: str, repository: Path, tmp_path: Path) -> None:
    config = prepare_config(read(repository / name))
    for key in ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands", "worker_start_ray_commands"):
        for command in config[key]:
            done = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    (write,) = (c for c in config["worker_setup_commands"] if "> ~/blear.env" in c)
    show = f"{write} && . ~/blear.env && echo $PATH && echo $RAY_AUTH_MODE $BLEAR_STORAGE $BLEAR_CACHE"
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", show], capture_output=True, text=True, check=True, env=environment)
    path, variables = done.stdout.splitlines()
    assert path == f"{tmp_path}/venv/bin:/usr/bin:/bin"
    storage = "s3://blear-0123456789ab/team" if name == "cluster.yaml" else "/mnt/blear"
    assert variables == f"token {storage} /var/tmp/blear"


@pytest.mark.parametrize("name", CLOUDS)
def test_spot_first_with_the_same_machine_on_demand(name: str, repository: Path) -> None:
    types = prepare_config(read(repository / name))["available_node_types"]
    spot, fallback, head = types["gpu_spot"], types["gpu_on_demand"], types["head"]
    assert spot["resources"] == fallback["resources"] == {"CPU": 8, "GPU": 1}
    assert spot["priority"] > fallback["priority"]
    machine = "InstanceType" if "InstanceType" in spot["node_config"] else "machineType"
    assert spot["node_config"][machine] == fallback["node_config"][machine]
    assert "spot" in json.dumps(spot["node_config"]) or '"preemptible": true' in json.dumps(spot["node_config"])
    assert "spot" not in json.dumps(fallback["node_config"])
    assert "preemptible" not in json.dumps(fallback["node_config"])
    assert head["resources"] == {"CPU": 0}
    assert head["max_workers"] == 0
    limits = read_autoscaler_limits(repository / name)
    assert limits is not None
    assert {kind.name: kind.limit for kind in limits.types} == {"gpu_spot": 8, "gpu_on_demand": 4}


def test_ec2_accepts_the_node_configs(repository: Path) -> None:
    """Each `node_config` has arguments of EC2's RunInstances, whose service model is part of botocore."""
    botocore = pytest.importorskip("botocore.session", reason="botocore is not installed")
    from botocore.validate import ParamValidator

    model = botocore.get_session().get_service_model("ec2")
    shape = model.operation_model("RunInstances").input_shape
    for kind, spec in read(repository / "cluster.yaml")["available_node_types"].items():
        report = ParamValidator().validate(spec["node_config"] | {"MinCount": 1, "MaxCount": 1}, shape)
        assert not report.has_errors(), f"{kind}: {report.generate_report()}"
    rules = read(repository / "cluster.yaml")["provider"]["security_group"]["IpPermissions"]
    assert [(rule["FromPort"], rule["ToPort"]) for rule in rules] == [(22, 22)]


@pytest.fixture(scope="module")
def rayjob_schema(repository: Path) -> dict[str, Any]:
    """KubeRay's schema of a RayJob, with unknown keys as errors."""
    folder = Path(os.environ.get("BLEAR_SCHEMAS", repository.parent / "shared" / "schemas"))
    file = folder / "ray.io_v1_rayjobs.schema.json.gz"
    if not file.is_file():
        pytest.skip(f"no {file}; set BLEAR_SCHEMAS to the folder of KubeRay's schemas")
    return strict(json.loads(gzip.decompress(file.read_bytes())))


def strict(schema: Any) -> Any:
    """Makes unknown keys an error; Kubernetes itself drops them silently."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        closed.setdefault("additionalProperties", False)
    return closed


def test_kuberay_accepts_the_rayjob(repository: Path, rayjob_schema: dict[str, Any]) -> None:
    claim, job = yaml.safe_load_all((repository / "docs/cluster/kuberay.yaml").read_text())
    body = {key: value for key, value in job.items() if key not in ("apiVersion", "kind", "metadata")}
    open_top = rayjob_schema | {"additionalProperties": True}
    jsonschema.Draft202012Validator(open_top).validate(job)
    wrong = copy.deepcopy(body)
    wrong["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["maxReplica"] = 8
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.Draft202012Validator(open_top).validate(wrong)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["enableInTreeAutoscaling"] is True
    (group,) = cluster["workerGroupSpecs"]
    assert (group["minReplicas"], group["maxReplicas"]) == (0, 8)
    for template in (cluster["headGroupSpec"]["template"], group["template"]):
        volumes = {v["name"]: v for v in template["spec"]["volumes"]}
        assert volumes["blear"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
        variables = {v["name"]: v["value"] for v in template["spec"]["containers"][0]["env"]}
        mounted = [m["mountPath"] for m in template["spec"]["containers"][0]["volumeMounts"]]
        assert set(variables.values()) == set(mounted)
