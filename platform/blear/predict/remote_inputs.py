"""Inputs in object storage: listed by a pattern, downloaded one at a time."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from blear.errors import DataError
from blear.imaging import PICTURE_SUFFIXES
from blear.predict.inputs import Input, is_media, is_picture
from blear.storage.object_store import ObjectStore
from blear.storage.remote import RemoteFolder, is_url


def find_remote(text: str) -> list[Input]:
    """Lists the videos and pictures of a URL: one object, a folder, or a pattern such as `s3://bucket/videos/**`.

    Raises:
        DataError: the protocol is not supported, the storage does not reply, or it has no video or picture there.
    """
    RemoteFolder.parse(text.partition("*")[0].rstrip("/"))
    try:
        found = ObjectStore(text).find()
    except OSError as error:
        raise DataError(f"cannot be listed: {error}", text, "check the URL and the credentials") from error
    urls = [url for url in found if is_media(Path(url.rpartition("/")[2]))]
    if not urls:
        raise DataError("has no video and no picture", text, "check the URL")
    files = [Path(url.rpartition("/")[2]) for url in urls]
    return [
        Input(file, file.suffix.lower() in PICTURE_SUFFIXES, given=url) for file, url in zip(files, urls, strict=True)
    ]


@contextlib.contextmanager
def downloaded(source: Input) -> Iterator[Input]:
    """Context with an input whose file is on this machine; the file of a URL is deleted at the end.

    Raises:
        DataError: the file cannot be downloaded.
    """
    if source.given is None or not is_url(source.given):
        yield source
        return
    folder, _, name = source.given.rpartition("/")
    with tempfile.TemporaryDirectory(prefix="blear-") as temporary:
        file = Path(temporary) / source.path.name
        RemoteFolder.parse(folder).fetch_unknown(name, file)
        yield replace(source, path=file, is_picture=is_picture(file))
