"""Groups of inputs for Ray tasks: all inputs in their order, large ones alone, enough groups for the workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from blear.predict.inputs import Input
from blear.predict.on_ray.actor import to_row
from blear.predict.on_ray.groups import group_inputs


def video(folder: Path, name: str, size: int) -> Input:
    """A sparse file of `size` bytes."""
    with (folder / name).open("wb") as file:
        file.truncate(size)
    return Input(folder / name, is_picture=False)


def test_pictures_and_small_videos_share_groups_and_large_ones_are_alone(tmp_path: Path) -> None:
    pictures = [Input(tmp_path / f"{number}.png", is_picture=True) for number in range(70)]
    small = [video(tmp_path, f"{number}.avi", 1 << 20) for number in range(6)]
    large = [video(tmp_path, f"{number}.mp4", 5 << 20) for number in range(2)]
    remote = Input(Path("a.mp4"), is_picture=False, given="s3://bucket/a.mp4")
    folder = Input(tmp_path, is_picture=True, is_folder=True)
    inputs = [*pictures, *small, *large, remote, folder, *pictures[:2]]
    groups = group_inputs(inputs, workers=1)
    assert [one for group in groups for one in group] == inputs
    # 20 pictures are a quarter of 82 inputs
    assert [len(group) for group in groups] == [20, 20, 20, 12, 4, 1, 1, 1, 1, 2]


def test_there_are_four_groups_for_each_worker(tmp_path: Path) -> None:
    pictures = [Input(tmp_path / f"{number}.png", is_picture=True) for number in range(160)]
    assert [len(group) for group in group_inputs(pictures, workers=4)] == [10] * 16
    assert [len(group) for group in group_inputs(pictures[:10], workers=4)] == [1] * 10
    assert [len(group) for group in group_inputs(pictures, workers=1)] == [32] * 5


def test_a_file_with_the_name_of_a_remote_video_is_not_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    video(tmp_path, "a.mp4", 10)
    remote = Input(Path("a.mp4"), is_picture=False, given="s3://bucket/a.mp4")
    assert group_inputs([remote] * 8, workers=1) == [[remote]] * 8


def test_a_row_is_text(tmp_path: Path) -> None:
    """Rows of a Ray dataset are Arrow tables: they hold no Python objects."""
    row = to_row([Input(tmp_path / "ä.png", is_picture=True)])
    assert set(row) == {"inputs"}
    assert isinstance(row["inputs"], str)
