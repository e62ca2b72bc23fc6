"""Output of `blear prepare DATASET --describe` for the data of every published system, without data on disk."""

import pytest

from blear.data.prepare.description import describe_dataset
from blear.plugin.discovery import load_plugins

WHERE = {
    "fer/fer2013": "kaggle.com",
    "fer/ferplus": "github.com/microsoft/FERPlus",
    "fer/afew": "cs.anu.edu.au/few",
    "dsn/raf_db": "www.whdeng.cn/raf",
    "dsn/face_list": "python -m blear_dsn.clips",
    "vtt/affectnet": "mohammadmahoor.com/affectnet",
    "vtt/raf": "www.whdeng.cn/raf",
    "vtt/stills": "mohammadmahoor.com/affectnet",
    "vtt/friends": "Video Turing Test project",
    "vtt/another_missoh": "dramaqa.snu.ac.kr",
    "vtt/ckplus": "jeffcohn.net",
}


def test_every_dataset_of_these_plugins_is_in_the_table():
    found = [name for name in load_plugins().components["dataset"] if name.split("/")[0] in ("fer", "dsn", "vtt")]
    assert sorted(WHERE) == sorted(found)


@pytest.mark.parametrize("name", WHERE)
def test_describe_without_data_prints_terms_and_source(name):
    summary, terms, missing = describe_dataset(load_plugins().get("dataset", name), {})
    assert summary.startswith(f"{name}: ")
    assert terms.startswith("terms: ")
    assert WHERE[name] in terms
    assert "research" in terms
    assert missing.startswith("missing: source, ")
