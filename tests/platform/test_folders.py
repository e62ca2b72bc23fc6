"""The walk through a folder: order, links, loops, hidden names, and folders that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blear.errors import DataError
from blear.folders import files_below, folders_below


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("top/b/1", "top/b/.h", "top/a.txt", "top/c", "top/.d/2", "far/3", "far/deep/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path / "top")  # another user reaches this folder only by its relative path
    return Path()


@contextmanager
def other_user() -> Iterator[None]:
    """As root: without the right to read everything."""
    if os.getuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def names(found: Iterator[Path]) -> list[str]:
    return [path.as_posix() for path in found]


def test_the_order_is_by_name_and_hidden_names_may_be_left_out(tree: Path) -> None:
    assert names(files_below(tree)) == ["a.txt", "b/1", "c"]
    assert names(files_below(tree, skip=None)) == [".d/2", "a.txt", "b/.h", "b/1", "c"]
    assert names(folders_below(tree, skip=None)) == [".d", "b"]
    assert names(files_below(Path.cwd(), "b".__eq__)) == [str(Path.cwd() / name) for name in (".d/2", "a.txt", "c")]


def test_links_to_folders_are_followed_but_no_loops(tree: Path) -> None:
    Path("link").symlink_to(Path("../far").absolute())
    Path("b/up").symlink_to("..")
    Path("../far/deep/back").symlink_to(Path.cwd())
    assert names(files_below(tree)) == ["a.txt", "b/1", "c", "link/3", "link/deep/4"]
    assert names(folders_below(tree)) == ["b", "link", "link/deep"]


def test_links_without_a_target_are_files_and_pipes_are_none(tree: Path) -> None:
    Path("gone").symlink_to("nothing")
    Path("self").symlink_to("self")
    os.mkfifo("pipe")
    Path("to_pipe").symlink_to("pipe")
    assert names(files_below(tree)) == ["a.txt", "b/1", "c", "gone", "self"]


@pytest.mark.parametrize("kind", ["a folder", "the target of a link"])
def test_what_cannot_be_read_is_an_error_or_left_out(tree: Path, kind: str) -> None:
    closed = Path("b" if kind == "a folder" else "../far")
    if kind != "a folder":
        Path("b/link").symlink_to("../../far/deep")
    Path("lost+found").mkdir(mode=0)
    closed.chmod(0)
    try:
        with other_user():
            with pytest.raises(DataError, match=r"(folder|target of this link) cannot be read: Permission denied"):
                list(files_below(tree))
            left = ["a.txt", "c"] if kind == "a folder" else ["a.txt", "b/1", "c"]
            assert names(files_below(tree, unreadable="skip")) == left
    finally:
        closed.chmod(0o755)
    with other_user():
        assert "b/1" in names(files_below(tree))  # in spite of lost+found
    with pytest.raises(DataError, match="No such file"):
        list(files_below(Path("missing")))
