"""Videos and pictures in object storage as inputs of `blear predict`: moto's S3 server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from blear.errors import BlearError
from blear.predict.inputs import find_inputs
from blear.predict.remote_inputs import downloaded
from blear.storage.object_store import ObjectStore
from s3_proxy import Proxy

pytest.importorskip("s3fs", reason="the extra blear[s3] is not installed")


def test_videos_of_a_bucket_are_inputs_of_predict(proxy: Proxy, tmp_path: Path) -> None:
    for name in ("videos/a.mp4", "videos/x/b.PNG", "videos/x/notes.txt", "other/c.mp4"):
        ObjectStore("s3://runs").put(name, name.encode())
    for text in ("s3://runs/videos/**", "s3://runs/videos"):
        found = find_inputs([text, "s3://runs/videos/a.mp4"])
        assert [(one.name, one.is_picture) for one in found] == [
            ("s3://runs/videos/a.mp4", False),
            ("s3://runs/videos/x/b.PNG", True),
        ], text
    with downloaded(found[1]) as here:
        assert (here.name, here.path.name, here.is_picture) == (found[1].name, "b.PNG", True)
        assert here.path.read_text() == "videos/x/b.PNG"
    assert not here.path.exists()
    with (
        pytest.raises(BlearError, match="there is no such file"),
        downloaded(replace(found[1], given="s3://runs/no.mp4")),
    ):
        pass
    with pytest.raises(BlearError, match="has no video and no picture"):
        find_inputs(["s3://runs/nothing/*"])
