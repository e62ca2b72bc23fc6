"""Flip rates of clips, compared with hand counts and with a copy of the authors' loop."""

import numpy as np
import pyarrow as pa
import pytest
from evaluated import rows

from blear.contracts import Categories, Values
from blear.errors import RunError
from blear.evaluate.predictions import SCHEMA
from blear.evaluate.statistics.flip_rate import clip_flips, flip_rates


def table(decisions_BT, classes=3, condition="imagenet_p", severity=1.0, arm="a", first=0):
    decisions = np.asarray(decisions_BT)
    probabilities = np.eye(classes, dtype=np.float32)[decisions]
    names = [f"s{first + k}" for k in range(len(decisions))]
    return rows(
        arm=arm,
        stage="joint",
        condition=condition,
        severity=severity,
        target="emotion",
        samples=names,
        truth_B=np.zeros(len(decisions)),
        decoded=Categories(tuple("xyz"[:classes]), probabilities),
        subjects=[f"p{k % 2}" for k in range(len(decisions))],
    )


def published(videos, noise):
    """`flip_prob` of ImageNet-P/test.py at difficulty 1."""
    result = 0
    for predictions in videos:
        flips, before = [], predictions[0]
        for prediction in predictions[1:]:
            flips.append(before != prediction)
            before = before if noise else prediction
        result += np.mean(flips) / len(videos)
    return result


def test_flips_from_the_previous_or_the_first_frame():
    made = table([[0, 0, 1, 1, 0], [2, 2, 2, 2, 2], [0, 1, 0, 1, 2]])
    clips = clip_flips(made)
    assert clips["sample"].to_pylist() == ["s0", "s1", "s2"]
    assert clips["subject"].to_pylist() == ["p0", "p1", "p0"]
    assert clips["frames"].to_pylist() == [5, 5, 5]
    assert clips["flip_rate"].to_pylist() == [0.5, 0.0, 1.0]
    assert clip_flips(made, against="first")["flip_rate"].to_pylist() == [0.5, 0.0, 0.75]
    assert flip_rates(clips) == {("a", "imagenet_p", 1.0): 0.5}


@pytest.mark.parametrize(("against", "noise"), [("previous", False), ("first", True)])
def test_flip_rates_equal_the_authors_loop(against, noise):
    generator = np.random.default_rng(1)
    decisions = {(arm, severity): generator.integers(3, size=(17, 9)) for arm in "ab" for severity in (1.0, 2.0)}
    whole = pa.concat_tables(table(d, arm=arm, severity=severity) for (arm, severity), d in decisions.items())
    rates = flip_rates(clip_flips(whole, against))
    assert rates == {
        (arm, "imagenet_p", severity): pytest.approx(published(d, noise)) for (arm, severity), d in decisions.items()
    }


def test_interleaved_clips_are_separated_and_stills_are_excluded():
    made = pa.concat_tables([table([[0, 1, 1]]), table([[2]], first=7), table([[1, 1, 1]], first=1)])
    mixed = made.take([0, 4, 3, 1, 5, 2, 6])
    clips = clip_flips(mixed)
    assert clips["sample"].to_pylist() == ["s0", "s1"]
    assert clips["flip_rate"].to_pylist() == [0.5, 0.0]


def test_a_lost_face_is_a_flip_and_so_is_its_return():
    made = table([[1, 1, 1, 1]])
    lost = pa.array([1.0, None, 1.0, 1.0])
    made = made.set_column(SCHEMA.get_field_index("prediction"), "prediction", lost)
    assert clip_flips(made)["flip_rate"].to_pylist() == [pytest.approx(2 / 3)]
    assert clip_flips(made, "first")["flip_rate"].to_pylist() == [pytest.approx(1 / 3)]


def test_regression_targets_and_stills_are_an_error():
    values = rows(
        arm="a",
        stage="joint",
        condition="c",
        severity=1,
        target="valence",
        samples=["s"],
        truth_B=np.zeros(1),
        decoded=Values(np.zeros((1, 3))),
    )
    with pytest.raises(RunError, match="a regression target has no flip rate"):
        clip_flips(values)
    with pytest.raises(RunError, match="no clip has two frames"):
        clip_flips(table([[0], [1]]))
    with pytest.raises(RunError, match="no clip has two frames"):
        clip_flips(table([[0, 1]]).slice(0, 0))
