"""Score files of a run: one network's sums in each."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from blear_dsn.scores import main


def write_run(root, seeds):
    """A run of one arm on two clips of two faces; the probabilities name the seed."""
    rows = [
        {"arm": "DSN-VGG", "condition": "downscale", "severity": level, "seed": seed, "video": clip, "found": True}
        | {"probabilities": [0.1 * seed, 1 - 0.1 * seed]}
        for seed in seeds
        for level in (1.0, 2.0)
        for clip in ("Happy/1", "Happy/1", "Sad/2", "Sad/2")
    ]
    pq.write_table(pa.Table.from_pylist(rows), root / "predictions.parquet")
    (root / "run.json").write_text(json.dumps({"split": "dev"}))


def test_each_training_seed_has_its_own_file(tmp_path):
    """Sums over the trainings of a run would be scores of no network."""
    write_run(tmp_path, seeds=(1, 2))
    result = CliRunner().invoke(main, [str(tmp_path)])
    files = [tmp_path / "scores" / f"pred_dev_dsn_vgg_seed{seed}_video.txt" for seed in (1, 2)]
    assert result.output.splitlines() == [str(file) for file in files]
    for seed, file in zip((1, 2), files, strict=True):
        np.testing.assert_allclose(np.loadtxt(file), [[0.2 * seed, 2 - 0.2 * seed]] * 2)
    assert (tmp_path / "scores" / "clips.txt").read_text() == "Happy/1\nSad/2\n"


def test_a_single_training_keeps_the_published_name(tmp_path):
    write_run(tmp_path, seeds=(7,))
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.output.splitlines() == [str(tmp_path / "scores" / "pred_dev_dsn_vgg_video.txt")]
