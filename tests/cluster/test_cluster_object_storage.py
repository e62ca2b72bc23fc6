"""Runs in object storage on nodes that share no folder.

The bucket is away for some steps, the node of rank 0 dies, and the run goes on to its report. A whole cluster dies, and
another one continues the search.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_run import REPOSITORY, SLOW, STEPS, write_job
from ray_cluster import BINARIES, QUICK, Cluster, wait_for
from ruamel.yaml import YAML

from blear.evaluate.predictions import read_predictions
from blear.search.results import SearchResults
from blear.storage.object_store import ObjectStore
from blear.storage.run_manifest import MANIFEST, Manifest
from blear.storage.stored_runs import stored_run_states
from s3_proxy import Proxy, proxied
from search_job import write_search

s3fs = pytest.importorskip("s3fs", reason="the extra blear[s3] is not installed")
moto = pytest.importorskip("moto.server", reason="moto[server] is not installed")
pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

URL = "s3://runs/team"
EVALUATE = """evaluate={split: dev, resamples: 20, faces: 2, batch_size: 5, arms: {a: {stage: one}},
  sweep: [{use: slow, over: {seconds: [0.0, 0.01]}}]}"""


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """A proxy before moto's S3 server."""
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    with proxied(server.get_host_and_port()[1]) as made:
        yield made
    server.stop()


@pytest.fixture(scope="module")
def bucket(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A bucket; gives the environment of those who use it."""
    none = str(tmp_path_factory.mktemp("aws") / "none")
    environment = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{proxy.port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": none,
        "AWS_SHARED_CREDENTIALS_FILE": none,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        files.mkdir("runs")
        yield environment
        s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def stored(
    tmp_path_factory: pytest.TempPathFactory, ray_token: dict[str, str], bucket: dict[str, str]
) -> Iterator[Cluster]:
    """A cluster whose head, without CPUs, may read the bucket."""
    with running(tmp_path_factory.mktemp("stored"), ray_token | bucket) as made:
        yield made


@contextlib.contextmanager
def running(folder: Path, environment: dict[str, str], *resources: str) -> Iterator[Cluster]:
    """A new head."""
    kept = {key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"}
    made = Cluster(folder, kept | {"PATH": f"{BINARIES}:{os.environ['PATH']}", **QUICK, **environment})
    try:
        made.head(*resources)
        yield made
    finally:
        made.stop()


def manifest_of(store: ObjectStore) -> Manifest:
    """The manifest of a run or of a part; empty before the first upload."""
    found = store.read(MANIFEST)
    return Manifest.from_bytes(found[0]) if found is not None else Manifest()


def test_the_bucket_is_away_then_the_node_of_rank_0_dies(
    stored: Cluster, proxy: Proxy, reference, tmp_path: Path
) -> None:
    caches = [tmp_path / name for name in ("driver", "one", "two")]
    nodes = [stored.add(BLEAR_CACHE=str(cache)) for cache in caches[1:]]
    job, log = write_job(tmp_path, "stored", 1, 1.0), tmp_path / "log"
    changes = [EVALUATE, "stages.one.audit=false", "stages.one.checkpoint_every=5"]
    command = [str(BINARIES / "blear"), "run", str(job), *[word for one in changes for word in ("--set", one)]]
    environment = stored.environment | {"RAY_ADDRESS": stored.address, "BLEAR_STORAGE": URL}
    with log.open("w") as output:
        run = subprocess.Popen(
            command, env=environment | {"BLEAR_CACHE": str(caches[0])}, cwd=REPOSITORY, stdout=output, stderr=output
        )
    store = ObjectStore(f"{URL}/runs/stored")
    part = ObjectStore(f"{store.url}/parts/stages/one")

    def stored_step() -> int:
        """The newest checkpoint in the storage."""
        assert run.poll() is None, log.read_text()[-6000:]
        return max(
            (int(name.split("-")[1].split("/")[0]) for name in manifest_of(part).files if "/state." in name), default=0
        )

    def trained_step() -> int:
        """The last step, on the node of rank 0."""
        (reached,) = tmp_path.glob("*/storage/*/runs/stored/stages/one/reached")
        return int(reached.read_text() or 0)

    try:
        wait_for("a stored checkpoint", stored_step, 400, every=0.3)
        proxy.away, before = True, trained_step()
        wait_for("training beyond the next checkpoint", lambda: trained_step() > before + 5)
        proxy.away = False
        wait_for("the checkpoint of that time", lambda: stored_step() > before, every=0.3)
        (lead,) = [node for node in nodes if node.trainers]
        lead.kill()
        stored_at = stored_step()
        (tmp_path / "gate").unlink()
        assert run.wait(400) == 0, log.read_text()[-6000:]
    finally:
        run.kill()
        stored.resize(0)

    (root,) = caches[0].glob("storage/*/runs/stored")
    lines = [json.loads(line) for line in (root / "stages/one/log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert losses == pytest.approx(reference.losses[:STEPS], rel=1e-3)
    history = (root / "stages/one/history.log").read_text()
    assert "lost a worker" in history
    assert f"continues from step {stored_at} " in history
    assert set(read_predictions(root / "predictions.parquet")["severity"].to_pylist()) == {0.0, 0.01}

    files = {"report.html", "summary.json", "stages/one/model.safetensors", "stages/one/stage.json"}
    assert files <= set(manifest_of(store).files)
    assert store.names("parts") == store.names("loose") == []
    assert {one.name: one.state for one in stored_run_states(URL)}["stored"] == "done"
    assert ObjectStore(f"{URL}/shards").names("")
    assert not list(caches[0].glob("storage/*/shards")), "nothing is prepared on the head"


DRIVER = """import sys
from blear.storage import run_mirror
run_mirror.LEASE_S = 3.0  # seconds to wait for the dead driver
run_mirror.SYNC_S = 2.0
from blear.cli import main
sys.exit(main())"""


def start_search(cluster: Cluster, job: Path, cache: Path) -> subprocess.Popen[bytes]:
    """Starts the driver of a search, on a machine whose only folder is `cache`; it prints to the file `log` there."""
    cache.mkdir()
    sets = ["stages.joint.steps=240", "stages.joint.checkpoint_every=20", "stages.joint.audit=true"]
    command = [sys.executable, "-c", DRIVER, "run", str(job), *[word for one in sets for word in ("--set", one)]]
    environment = cluster.environment | {"RAY_ADDRESS": cluster.address, "BLEAR_STORAGE": URL}
    with (cache / "log").open("w") as log:
        return subprocess.Popen(command, env=environment | {"BLEAR_CACHE": str(cache)}, stdout=log, stderr=log)


def test_a_search_continues_on_another_cluster(
    stored: Cluster, bucket: dict[str, str], ray_token: dict[str, str], tmp_path: Path
) -> None:
    """The driver and its cluster are killed while the second of two trials trains; the new head has empty disks."""
    stored.resize(0)
    stored.add(BLEAR_CACHE=str(tmp_path / "node"))
    (tmp_path / "slow.py").write_text(SLOW)
    narrow = {"narrow": {"stages.joint.degrade.0.factors": {1: 1, 2: 1}}}
    job = write_search(tmp_path, algorithm="random", trials=2, concurrent=1, baselines=narrow)
    yaml, gate = YAML(), tmp_path / "gate"
    loaded = yaml.load(job)
    loaded["plugins"] = ["./slow.py"]
    loaded["stages"]["joint"]["degrade"].append({"use": "slow", "seconds": 0.1, "gate": str(gate)})
    with job.open("w") as file:
        yaml.dump(loaded, file)
    store = ObjectStore(f"{URL}/runs/tiny")

    def parts() -> dict[str, set[str]]:
        """Name of a trial -> its stored files."""
        return {
            n: set(manifest_of(ObjectStore(f"{store.url}/parts/trials/{n}")).files) for n in store.names("parts/trials")
        }

    gate.write_text("0.02")
    first = start_search(stored, job, tmp_path / "first")
    done = "stages/joint/stage.json"

    def first_trial_ended() -> bool:
        assert first.poll() is None, (tmp_path / "first" / "log").read_text()[-6000:]
        return any((tmp_path / "node").glob(f"storage/*/runs/tiny/trials/*/{done}"))

    def is_in_second_trial() -> bool:
        assert first.poll() is None, (tmp_path / "first" / "log").read_text()[-6000:]
        steps = {name: sum("joint/checkpoints/" in file for file in files) for name, files in parts().items()}
        finished = [name for name, files in parts().items() if done in files]
        known = any(name.startswith("tune/") and name.endswith("result.json") for name in manifest_of(store).files)
        return known and len(finished) == 1 and any(steps[name] for name in steps if name not in finished)

    try:
        wait_for("the end of the first trial", first_trial_ended, 400)
        gate.write_text("0.2")  # the second one takes longer than the upload of the first one
        wait_for("a trial is stored, and a checkpoint of the next one", is_in_second_trial, 400, every=0.3)
    finally:
        first.kill()
        for node in stored.nodes:
            node.kill()
        gate.unlink(missing_ok=True)
    first.wait()
    before = parts()
    (finished,) = [name for name, files in before.items() if done in files]
    (interrupted,) = before.keys() - {finished}
    weights = manifest_of(ObjectStore(f"{store.url}/parts/trials/{finished}")).files["stages/joint/stage.json"]

    (tmp_path / "other").mkdir()
    environment = ray_token | bucket | {"BLEAR_CACHE": str(tmp_path / "node-2")}
    with running(tmp_path / "other", environment, "--num-cpus=1") as other:
        again, log = start_search(other, job, tmp_path / "second"), tmp_path / "second" / "log"
        try:
            assert again.wait(400) == 0, log.read_text()[-6000:]
        finally:
            again.kill()

    assert "search: continues" in log.read_text()
    (root,) = (tmp_path / "second").glob("storage/*/runs/tiny")
    results = SearchResults.model_validate_json((root / "search.json").read_text())
    assert {trial.name for trial in results.trials} == {finished, interrupted}
    assert [(trial.whole, trial.steps) for trial in results.trials] == [(True, 240)] * 2
    assert [trial.whole for trial in results.baselines] == [True]
    kept = manifest_of(store).files
    assert kept[f"trials/{finished}/{done}"] == weights, "not trained again"
    audits = (root / "trials" / interrupted / "stages/joint/samples").glob("*.jsonl")
    lines = [json.loads(line) for audit in audits for line in audit.read_text().splitlines()]
    assert {line["step"] for line in lines} == set(range(1, 241))
    (step,) = {line["first"] for line in lines} - {0}
    assert step >= 20
    assert {"report.html", "summary.json", "best.yaml", "baselines/1-narrow/stages/joint/model.safetensors"} <= set(
        kept
    )
    assert store.names("parts") == store.names("loose") == []
    assert {one.name: one.state for one in stored_run_states(URL)}["tiny"] == "done"
