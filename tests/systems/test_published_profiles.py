"""Jobs of the published systems: profile `published`, published starts, stages loaded from the authors' files."""

from __future__ import annotations

from pathlib import Path

import pytest

import published_files as files
import weight_file_bytes
from blear.job.reader import read_job
from blear.job.schema import Job
from blear.pipeline.data_facts import data_facts
from blear.pipeline.dry_run import dry_run
from blear.train.schedule import learning_rate

FER = ("fer_vggface", "fer_vgg_gru", "fer_vgg_lstm", "fer_resnet_gru")
DSN = ("dsn_vgg", "dsn_resnet50", "dsn_densenet121", "dsn_fusion")
VLQR = ("vlqr", "vlqr_hq", "vlqr_lq", "vlqr_non_joint", "vlqr_compare")
VTT = ("vtt_resnet", "vtt_tsm")
STARTS = {
    "fer_vggface": {"still"},
    "fer_vgg_gru": {"still"},
    "fer_vgg_lstm": {"still"},
    "dsn_vgg": {"dsn"},
    "dsn_resnet50": {"dsn", "plain"},
    "dsn_densenet121": {"plain"},
    "dsn_fusion": {"vgg_face", "dsn_vgg", "dsn_resnet", "densenet"},
}
"""Job -> stages whose published start is a file."""


def read(repository: Path, name: str, profile: str | None = "published", *overrides: str) -> Job:
    return read_job(repository / "jobs" / f"{name}.yaml", profile=profile, overrides=overrides)[0]


def test_fer_trains_on_training_and_public_test(repository: Path) -> None:
    for name in FER:
        job = read(repository, name)
        still = job.stages["still"]
        assert job.data["faces"].params["protocol"] == "fer_vgg_gru"
        assert still.optimizer is not None
        assert still.validate_ is not None
        epoch = -(-32_298 // 32)
        assert (still.steps, still.validate_.every) == (100 * epoch, epoch)
        rates = [learning_rate(still.optimizer, number * epoch, still.steps) for number in range(100)]
        last_step = [learning_rate(still.optimizer, (number + 1) * epoch - 1, still.steps) for number in range(100)]
        # epochs 1 to 19, 20 to 39, ...: the authors step the scheduler at the start of each epoch
        expected = [still.optimizer.lr * 0.1 ** ((number + 1) // 20) for number in range(100)]
        assert rates == last_step == pytest.approx(expected)
        videos = [stage.validate_ for label, stage in job.stages.items() if label != "still"]
        assert {video.ties for video in videos if video is not None} <= {"last"}
        if name != "fer_resnet_gru":
            assert still.backbone.params["normalise"] == "legacy_first_channel_only"
        assert "protocol" not in read(repository, name, None).data["faces"].params  # the default: official


def test_dsn_and_vlqr_have_the_choices_of_the_scripts(repository: Path) -> None:
    for name, stage in (("dsn_resnet50", "dsn"), ("dsn_fusion", "dsn_resnet")):
        params = read(repository, name).stages[stage].backbone.params
        assert (params["layers"], params["dilated"]) == (101, True)
    for name in DSN[::2]:
        assert read(repository, name).stages
    for name in VLQR:
        faces = read(repository, name).data["faces"].params
        assert (faces["precision"], faces["time_tolerance"]) == ("float", "exact")
    for name, stage in (("vlqr", "joint"), ("vlqr_compare", "max_mix")):
        (mix,) = read(repository, name).stages[stage].degrade
        assert mix.params["frozen_mix"] is True


def test_vtt_has_the_crops_and_splits_of_the_scripts(repository: Path) -> None:
    for name in VTT:
        job = read(repository, name)
        stills, validate = job.data["stills"].params, job.stages["static"].validate_
        assert (stills["legacy_square"], stills["pool_splits"]) == (True, True)
        assert validate is not None
        assert validate.data == "friends"
        assert not {"legacy_square", "pool_splits"} & set(read(repository, name, None).data["stills"].params)
    friends = read(repository, "vtt_tsm").data["friends"].params
    assert (friends["margin"], friends["all_episodes"], tuple(friends["dev"])) == (0.3, True, (9, 10))


def test_published_starts_are_null_and_have_their_table(repository: Path) -> None:
    for name, stages in STARTS.items():
        job = read(repository, name, None)
        found = {stage for stage, spec in job.stages.items() if (start := spec.backbone.start_from) and not start.stage}
        assert found == stages
        for stage in stages:
            start = job.stages[stage].backbone.start_from
            assert start is not None
            assert start.file is None
            assert start.rename or start.take == ["conv*"]


@pytest.mark.parametrize(
    ("name", "profile", "tensors"),
    [
        ("fer_vgg_gru", "best7164", files.best7164(1 / 32)),
        ("fer_resnet_gru", "best_resnet", files.face_resnet(1 / 32)),
    ],
)
def test_the_stills_can_be_the_authors_network(
    repository: Path, tmp_path: Path, name: str, profile: str, tensors: files.Tensors
) -> None:
    """The dry run loads the file into the stage `still`, without training, and the clips' stages start from it."""
    file = tmp_path / "given.model"
    weight_file_bytes.torch_0_3(file, tensors)
    size = "[48, 48]" if name == "fer_resnet_gru" else "[32, 32]"
    small = ["stages.*.backbone.width=0.03125", f"stages.*.backbone.size={size}"]
    small += ["data.*.stand_in.size=48", "evaluate.sweep.over={factor: [1]}"]
    small += ["stages.resnet_gru*.head.side=16"] if name == "fer_resnet_gru" else []
    job, catalog = read_job(
        repository / "jobs" / f"{name}.yaml",
        profile=profile,
        overrides=[*small, f"stages.still.start_from.file={file}"],
    )
    still = job.stages["still"]
    assert (still.steps, still.optimizer, still.backbone.start_from) == (0, None, None)
    dry_run(job, catalog, data_facts(job, catalog)[0])
