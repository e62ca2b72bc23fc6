"""Procedural faces: labels, independence of batch and part, and that the labels are visible in the pixels."""

import numpy as np
import pytest
from pydantic import ValidationError

import blear
from blear.contracts import BuildContext, Dataset
from blear.errors import DataError
from blear.imaging import studio_luma
from blear_faces import expression, register_datasets
from blear_faces.dataset import ProceduralFaces
from blear_faces.expression import EMOTIONS, UNITS
from blear_faces.params import ProceduralParams
from blear_faces.population import IDENTITY, RECORDING, SAMPLE, draw, frames_of, population
from blear_faces.render import render

SMALL = {"size": 48, "subjects": {"train": 10, "dev": 3}, "per_subject": 6, "recordings": 3}


def dataset(seed=5, **changes):
    return ProceduralFaces(ProceduralParams(**{**SMALL, **changes}), BuildContext(seed=seed))


def read(data, split="train"):
    return [sample for part in data.parts(split) for sample in data.samples(split, part)]


def rows_of(n, seed=3, per_subject=4, recordings=2, frames=1):
    index = np.arange(n)
    drawn = population(seed, 0, index // per_subject, index % per_subject, per_subject, recordings)
    return frames_of(drawn, frames, 25.0)


def neutral(n=1, **changes):
    """Rows of n copies of one neutral face, with some columns replaced."""
    rows = {name: np.repeat(column[:1], n) for name, column in rows_of(1).items()}
    for name in [*UNITS, "au26"]:
        rows[name] = np.zeros(n)
    rows |= {
        "glasses": np.ones(n),
        "beard": np.ones(n),
        "skin_tone": np.zeros(n),
        "roll": np.zeros(n),
        "yaw": np.zeros(n),
    }
    return rows | {name: np.asarray(value, float) for name, value in changes.items()}


def test_samples_follow_the_contract_of_datasets():
    data = dataset()
    assert isinstance(data, Dataset)
    samples = read(data)
    assert (data.clip.length, data.clip.channels, data.clip.height, data.clip.width) == (1, 3, 48, 48)
    assert data.parts("train") == ["0000-0007", "0008-0009"]
    assert len(samples) == 60
    assert len({sample.key for sample in samples}) == 60
    assert all("." not in sample.key for sample in samples)
    assert {sample.frames.shape for sample in samples} == {(1, 48, 48, 3)}
    assert {sample.frames.dtype for sample in samples} == {np.dtype(np.uint8)}
    assert len({sample.subject for sample in samples}) == 10
    assert len({sample.video for sample in samples}) == 30
    assert all(sample.video.startswith(sample.subject) for sample in samples)
    assert [target.name for target in data.targets] == ["emotion", "valence", "arousal"]
    assert data.targets[0].classes == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert type(samples[0].targets["emotion"]) is int
    assert all(-1 <= sample.targets[name] <= 1 for sample in samples for name in ("valence", "arousal"))


def test_a_face_does_not_depend_on_its_batch():
    rows = rows_of(70)  # more than two blocks of the renderer, the last one short
    together = render(rows, 49)  # an odd size, so that vector tails are hit
    for i in (0, 1, 31, 32, 63, 69):
        alone = render({name: column[i : i + 1] for name, column in rows.items()}, 49)
        assert np.array_equal(alone[0], together[i])
    backwards = render({name: column[::-1].copy() for name, column in rows.items()}, 49)
    assert np.array_equal(backwards[::-1], together)


def test_more_subjects_do_not_change_the_first_ones():
    few, many = read(dataset(subjects={"train": 3, "dev": 1})), read(dataset())
    for a, b in zip(few, many[: len(few)], strict=True):
        assert (a.key, a.targets) == (b.key, b.targets)
        assert np.array_equal(a.frames, b.frames)


def test_faces_depend_on_seed_and_split():
    first, again = read(dataset(), "dev"), read(dataset(), "dev")
    assert all(np.array_equal(a.frames, b.frames) for a, b in zip(first, again, strict=True))
    assert [sample.targets for sample in first] == [sample.targets for sample in again]
    assert not np.array_equal(first[0].frames, read(dataset(seed=6), "dev")[0].frames)
    own_seed = ProceduralFaces(ProceduralParams(**SMALL, seed=5), BuildContext(seed=9))
    assert np.array_equal(first[0].frames, read(own_seed, "dev")[0].frames)
    assert not np.array_equal(first[0].frames, read(dataset())[0].frames)


def test_identities_of_the_splits_are_disjoint():
    train, dev = (draw("identity", 5, split, np.arange(500))["face_width"] for split in (0, 1))
    assert not np.intersect1d(train, dev).size


def test_identity_and_recording_columns_are_constant_within_each():
    number = np.arange(6)
    rows = population(5, 0, np.full(6, 2), number, 6, 3)
    assert all(len(np.unique(rows[name])) == 1 for name in IDENTITY)
    assert rows["recording"].tolist() == [0, 0, 1, 1, 2, 2]
    assert all(len(np.unique(rows[name])) == 3 for name in RECORDING)
    assert all(len(np.unique(rows[name])) > 3 for name in SAMPLE if name != "emotion")


def test_time_counts_within_the_recording():
    times = [sample.time for sample in read(dataset(frames=5))[:6]]
    assert times == pytest.approx([0, 0.2, 0, 0.2, 0, 0.2])
    uneven = read(dataset(per_subject=5, recordings=3))[:5]
    assert [sample.video[-2:] for sample in uneven] == ["r0", "r0", "r1", "r1", "r2"]
    assert [sample.time for sample in uneven] == pytest.approx([0, 0.04, 0, 0.04, 0])


def test_luma_is_the_studio_luma_of_the_rgb_face():
    rgb, luma = read(dataset(), "dev"), read(dataset(color="luma", targets=["valence"]), "dev")
    for a, b in zip(rgb, luma, strict=True):
        assert np.array_equal(studio_luma(a.frames[0]), b.frames[0, ..., 0])
        assert b.targets == {"valence": a.targets["valence"]}


def test_every_class_is_drawn_equally():
    index = np.arange(7000)
    emotion = population(1, 0, index // 10, index % 10, 10, 1)["emotion"].astype(int)
    counts = np.bincount(emotion, minlength=7)
    assert counts.min() > 900  # expected 1000, standard deviation 29
    assert counts.max() < 1100


def test_valence_and_arousal_of_known_expressions():
    at_rest = {name: np.zeros(1) for name in UNITS}
    assert expression.valence(at_rest)[0] == 0
    assert expression.arousal(at_rest)[0] == pytest.approx(np.tanh(-0.36))
    smile = at_rest | {"au12": np.ones(1)}
    assert expression.valence(smile)[0] == pytest.approx(np.tanh(1.5))
    assert expression.valence(at_rest | {"au15": np.ones(1)})[0] == pytest.approx(-np.tanh(1.2))
    assert expression.arousal(at_rest | {"au5": np.ones(1)})[0] == pytest.approx(np.tanh(0.72))


def test_prototypes_have_the_valence_and_arousal_of_the_circumplex():
    n = 7 * 200
    rng = np.random.default_rng(0)
    emotion = np.repeat(np.arange(7), 200)
    units = expression.draw_units(emotion, np.full(n, 0.9), rng.random((n, len(UNITS))), rng.random((n, len(UNITS))))
    assert all(((column >= 0) & (column <= 1)).all() for column in units.values())
    mean = {
        e: (expression.valence(units)[emotion == i].mean(), expression.arousal(units)[emotion == i].mean())
        for i, e in enumerate(EMOTIONS)
    }
    assert mean["happy"][0] > 0.6
    assert max(mean[e][0] for e in ("angry", "disgust", "sad", "fear")) < -0.3
    assert abs(mean["neutral"][0]) < 0.2
    assert mean["sad"][1] < mean["neutral"][1] < mean["happy"][1] < mean["fear"][1]


def test_the_open_mouth_hardly_correlates_with_valence():
    rows = rows_of(4000)
    units = {name: rows[name] for name in UNITS}
    assert abs(np.corrcoef(rows["au26"], expression.valence(units))[0, 1]) < 0.15


@pytest.mark.parametrize(
    ("unit", "top", "bottom"),
    [
        ("au12", 0.5, 0.95),
        ("au15", 0.55, 0.95),
        ("au1", 0.05, 0.45),
        ("au4", 0.05, 0.5),
        ("au5", 0.15, 0.5),
        ("au43", 0.15, 0.5),
        ("au9", 0.1, 0.8),
    ],
)
def test_an_action_unit_changes_only_its_part_of_the_face(unit, top, bottom):
    rest, moved = render(neutral(2, **{unit: [0, 1]}), 96).astype(int)
    change = np.abs(moved - rest).max(axis=2)
    assert change.max() > 40
    rows = np.flatnonzero(change.max(axis=1) > 12) / 96
    assert rows.min() > top
    assert rows.max() < bottom


def test_a_smile_moves_the_corners_of_the_mouth_and_not_its_centre():
    faces = render(neutral(3, au12=[0, 1, 0], au15=[0, 0, 1]), 96).astype(float).mean(axis=3)
    rest, smile, frown = faces
    blur = np.ones(24) / 24
    down = [np.convolve((face - rest)[54:92, 24:72].sum(axis=1), blur, "same") for face in (smile, frown)]
    fine = [np.abs((face - rest)[54:92, 24:72]).max() for face in (smile, frown)]
    assert min(fine) > 60  # clearly visible at 96 px
    assert max(np.abs(profile).max() / 48 for profile in down) < 12  # nearly invisible in a coarse profile


def test_edges_are_anti_aliased():
    """A face moved by a quarter of a pixel changes smoothly: no pixel jumps by more than the edge's slope allows."""
    still, moved = render(neutral(2, shift_x=[0.0, 0.05 / 96]), 96).astype(int)
    assert 0 < np.abs(still - moved).max() <= 16


def test_the_apex_of_a_clip_has_the_labels():
    data = dataset(frames=9, subjects={"train": 2, "dev": 1})
    samples = read(data)
    assert samples[0].frames.shape == (9, 48, 48, 3)
    drawn = population(5, 0, np.arange(12) // 6, np.arange(12) % 6, 6, 3)
    rows = frames_of(drawn, 9, 25.0)
    each = expression.valence({name: rows[name] for name in UNITS}).reshape(12, 9)
    labels = np.array([sample.targets["valence"] for sample in samples])
    apex = np.abs(each).argmax(axis=1)
    assert np.take_along_axis(each, apex[:, None], 1)[:, 0] == pytest.approx(labels)
    assert ((apex >= 2) & (apex <= 6)).all()


def test_the_envelope_is_smooth_with_one_apex():
    share = expression.envelope(np.array([0.0, 0.5, 0.99]), np.zeros(3), np.full(3, 0.5), 25)
    assert share.max(axis=1).tolist() == [1, 1, 1]
    assert share[:, 0].tolist() == [0, 0, 0]
    assert share[:, -1].tolist() == [0.5, 0.5, 0.5]
    assert np.abs(np.diff(share, axis=1)).max() < 0.2
    assert expression.envelope(np.array([0.3]), np.zeros(1), np.zeros(1), 1).tolist() == [[1.0]]


def test_short_clips_are_drawn():
    for frames in (2, 3):
        assert read(dataset(frames=frames), "dev")[0].frames.shape == (frames, 48, 48, 3)


def test_mistakes_are_named():
    with pytest.raises(DataError, match="no split 'test'"):
        dataset().parts("test")
    with pytest.raises(DataError, match="no part '0000-0099'"):
        next(iter(dataset().samples("train", "0000-0099")))
    with pytest.raises(ValueError, match="per_person"):
        ProceduralParams(per_person=3)
    with pytest.raises(ValueError, match="targets"):
        ProceduralParams(targets=["pain"])


def test_the_component_is_declared_with_described_parameters():
    (component,) = register_datasets()
    assert component.name == "procedural"
    for example in component.examples:
        data = ProceduralFaces(component.params(**example), BuildContext(seed=1))
        assert next(iter(data.samples("dev", data.parts("dev")[0]))).frames.shape[0] == data.clip.length
    for model in (component.params, component.params.model_fields["subjects"].annotation):
        assert all(field.description for field in model.model_fields.values())


def test_the_centre_of_a_scene_is_the_picture_of_the_face():
    alone, scenes = read(dataset(per_subject=1), "dev"), read(dataset(per_subject=1, scene=144), "dev")
    assert dataset(scene=144).clip.height == 144
    for face, scene in zip(alone, scenes, strict=True):
        assert scene.frames.shape == (1, 144, 144, 3)
        assert (face.key, face.targets) == (scene.key, scene.targets)
        cut = scene.frames[0, 48:96, 48:96].astype(int)
        assert np.abs(cut - face.frames[0])[10:38, 14:34].max() <= 6  # eyes to mouth; grain and wall differ
        assert scene.frames[0, :40].std() > 0
    for sizes in ({"scene": 24}, {"scene": 49}):
        with pytest.raises(ValidationError, match="cannot be centred in a scene"):
            dataset(**sizes)


@pytest.mark.parametrize("place", [0, 1, 2, 3, 4])
def test_no_operation_of_a_chain_draws_the_numbers_of_the_faces(place):
    """The first number of a sample's row is its emotion."""
    emotion_N = draw("sample", 0, 0, np.arange(200))["emotion"]
    faces = np.full((200, 16, 16, 3), 128, np.uint8)
    chain = [*[{"use": "random_flip", "p": 0}] * place, {"use": "noise", "sigma": [0, 60]}]
    spread_N = blear.degrade(faces, chain, seed=0).std(axis=(1, 2, 3))
    assert abs(np.corrcoef(emotion_N, spread_N)[0, 1]) < 0.25  # 3.5 standard deviations of independent numbers
