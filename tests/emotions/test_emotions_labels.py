"""Label sets and mappings against hand-written tables of the specifications."""

import pytest

from blear_emotions import labels
from blear_emotions.labels import CANONICAL, FERPLUS_CLASSES, RAF_COMPOUND, Labels, canonical, mapping

NUMBERS = {  # dataset -> number in its files -> canonical emotion
    "FER2013": {0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "sadness", 5: "surprise", 6: "neutral"},
    "FER2013_FOLDERS": {0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "neutral", 5: "sadness", 6: "surprise"},
    "AFEW": {0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "neutral", 5: "sadness", 6: "surprise"},
    "FERPLUS": {
        0: "neutral",
        1: "happiness",
        2: "surprise",
        3: "sadness",
        4: "anger",
        5: "disgust",
        6: "fear",
        7: "contempt",
        8: None,
        9: None,
    },
    "RAF": {1: "surprise", 2: "fear", 3: "disgust", 4: "happiness", 5: "sadness", 6: "anger", 7: "neutral"},
    "RAF_ML": {0: "surprise", 1: "fear", 2: "disgust", 3: "happiness", 4: "sadness", 5: "anger"},
    "AFFECTNET": {
        0: "neutral",
        1: "happiness",
        2: "sadness",
        3: "surprise",
        4: "fear",
        5: "disgust",
        6: "anger",
        7: "contempt",
        8: None,
        9: None,
        10: None,
    },
    "CKPLUS": {
        0: "neutral",
        1: "anger",
        2: "contempt",
        3: "disgust",
        4: "fear",
        5: "happiness",
        6: "sadness",
        7: "surprise",
    },
    "VTT": {0: "anger", 1: "disgust", 2: "fear", 3: "happiness", 4: "sadness", 5: "surprise", 6: "neutral"},
}


@pytest.mark.parametrize("name", NUMBERS)
def test_numbers_of_each_dataset(name):
    vocabulary = getattr(labels, name)
    expected = NUMBERS[name]
    assert len(vocabulary) == len(expected)
    found = {number: canonical(vocabulary.names[vocabulary.index_of_number(number)]) for number in expected}
    assert found == expected
    for beyond in (min(expected) - 1, max(expected) + 1):
        with pytest.raises(ValueError, match=f"numbers run from {min(expected)} to {max(expected)}"):
            vocabulary.index_of_number(beyond)


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("RAF", "AFEW", (6, 2, 1, 3, 5, 0, 4)),  # dsn 2.1
        ("RAF", "VTT", (5, 2, 1, 3, 4, 0, 6)),  # vtt 2.2
        ("RAF_ML", "VTT", (5, 2, 1, 3, 4, 0)),
        ("AFFECTNET", "VTT", (6, 3, 4, 5, 2, 1, 0, None, None, None, None)),  # vtt 2.1
        ("FER2013", "AFEW", (0, 1, 2, 3, 5, 6, 4)),
        ("AFEW", "FER2013", (0, 1, 2, 3, 6, 4, 5)),
        ("FER2013_FOLDERS", "FER2013", (0, 1, 2, 3, 6, 4, 5)),
        ("FER2013", "VTT", (0, 1, 2, 3, 4, 5, 6)),
        ("CKPLUS", "VTT", (6, 0, None, 1, 2, 3, 4, 5)),
        ("FRIENDS", "VTT", (0, 1, 2, 3, 4, 5, 6, None)),
        ("FERPLUS", "FER2013", (6, 3, 5, 4, 0, 1, 2, None, None, None)),
        ("AFFECTNET", "FERPLUS", (0, 1, 3, 2, 6, 5, 4, 7, None, None, None)),
        ("VTT", "RAF", (5, 2, 1, 3, 4, 0, 6)),
    ],
)
def test_maps_between_datasets(source, target, expected):
    assert mapping(getattr(labels, source), getattr(labels, target)) == expected


def test_compound_pairs_in_the_order_of_their_numbers():
    assert RAF_COMPOUND == (
        ("happiness", "surprise"),  # 1 happily surprised
        ("happiness", "disgust"),
        ("sadness", "fear"),
        ("sadness", "anger"),
        ("sadness", "surprise"),
        ("sadness", "disgust"),
        ("fear", "anger"),
        ("fear", "surprise"),  # 8 fearfully surprised
        ("anger", "surprise"),
        ("anger", "disgust"),
        ("disgust", "surprise"),
    )


@pytest.mark.parametrize(
    ("word", "place"), [("Angry", 0), ("anger", 0), ("HAPPINESS", 3), ("sad ", 4), ("Neutral", 6), ("none", 7)]
)
def test_words_of_friends_in_any_case_and_with_synonyms(word, place):
    assert labels.FRIENDS.index_of_word(word) == place


def test_unknown_words_are_rejected_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'Contempt' is no class of AFEW: angry, disgust"):
        labels.AFEW.index_of_word("Contempt")
    with pytest.raises(ValueError, match=r"'angre' is no emotion; known are anger"):
        labels.AFEW.index_of_word("angre")
    with pytest.raises(ValueError, match=r"'none' is no class of AFEW"):
        labels.AFEW.index_of_word("none")


def test_words_of_every_dataset_map_to_their_own_index():
    vocabularies = [value for value in vars(labels).values() if isinstance(value, Labels)]
    assert len(vocabularies) == len(NUMBERS) + 1  # and Friends, which has words only
    for vocabulary in vocabularies:
        assert [vocabulary.index_of_word(name) for name in vocabulary.names] == list(range(len(vocabulary)))


def test_classes_of_ferplus_are_the_eight_emotions():
    assert sorted(FERPLUS_CLASSES) == sorted(CANONICAL)
