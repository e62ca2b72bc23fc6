"""Local, uncompressed copies of shards at any place: a path, a URL, or a gzip file of either."""

from __future__ import annotations

import gzip
import hashlib
import shutil
from pathlib import Path, PurePosixPath

from filelock import FileLock

from blear.data.dataset_info import ShardInfo
from blear.data.mirror import Mirror, cache_root
from blear.data.shard.archive import index_path
from blear.errors import DataError
from blear.storage.durable import durable_file
from blear.storage.remote import RemoteFolder, is_url

_GZIP = b"\x1f\x8b"
_AGAIN = "run `blear prepare` again, which indexes it again"


def mirror_of(place: str) -> tuple[Mirror, str]:
    """Returns the local copies of the folder of a URL, and the name of the shard in it."""
    parent, _, name = place.rpartition("/")
    remote, root = RemoteFolder.parse(parent), cache_root()
    digest = hashlib.sha256(remote.url.encode()).hexdigest()[:12]
    return Mirror(remote, root, root / f"webdataset-{digest}", has_indexes=False), name


def open_indexed(info: ShardInfo) -> Path:
    """Returns the path of an indexed shard on this machine; one at a URL is fetched if there is no local copy.

    Raises:
        DataError: the shard is missing or has changed, or it cannot be fetched.
    """
    if is_url(info.place):
        mirror, name = mirror_of(info.place)
        return mirror.local(info.model_copy(update={"name": name, "place": "", "index_sha256": ""}))
    path = Path(info.place)
    if not path.is_file():
        raise DataError("the shard is missing", info.place, "put it back, or change `source`")
    if path.stat().st_size != info.bytes:
        what = f"the shard has {path.stat().st_size} bytes, {info.bytes} when it was indexed"
        raise DataError(what, info.place, _AGAIN)
    return path


def is_prepared(info: ShardInfo, folder: Path) -> bool:
    """Whether the folder holds what reading a shard in place needs: its index, and the copy of a gzip file."""
    unpacked = Path(info.place).parent.parent == folder and not is_url(info.place)
    return index_path(folder / info.name).is_file() and (not unpacked or Path(info.place).is_file())


def local_copy(place: str, unpacked: Path) -> Path:
    """Returns the path of an uncompressed shard on this machine, before it is indexed.

    Args:
        place: path or URL of the shard.
        unpacked: folder for decompressed copies of gzip files, which cannot be read at random.

    Raises:
        DataError: the shard is missing, damaged or cannot be fetched.
    """
    path = _fetched(place) if is_url(place) else Path(place)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
    except OSError as error:
        raise DataError(f"the shard cannot be read: {error.strerror}", place, "check `source`") from error
    return _unpack(path, place, unpacked) if packed else path


def place_of(place: str, local: Path) -> str:
    """Returns the place at which an indexed shard is read: a decompressed copy replaces the file itself."""
    return place if is_url(place) and not local.name.endswith(".unpacked.tar") else str(local.absolute())


def _fetched(place: str) -> Path:
    """Fetches a shard of unknown size and digest into the local copies, once."""
    mirror, name = mirror_of(place)
    path = mirror.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{name}.lock")):
        if not path.is_file():
            with durable_file(path, path.with_name(f".{name}.partial")) as partial:
                mirror.remote.fetch_unknown(name, partial)
    return path


def _unpack(path: Path, place: str, folder: Path) -> Path:
    digest = hashlib.sha256(place.encode()).hexdigest()[:12]
    target = folder / f"{PurePosixPath(place).name.split('.')[0]}-{digest}.unpacked.tar"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):
        if not target.is_file():
            try:
                with (
                    durable_file(target, target.with_name(f".{target.name}.partial")) as partial,
                    gzip.open(path) as source,
                    partial.open("wb") as out,
                ):
                    shutil.copyfileobj(source, out, 1 << 20)
            except (OSError, EOFError) as error:
                do = "replace it by an intact copy"
                raise DataError(f"the gzip file cannot be decompressed: {error}", place, do) from error
    return target
