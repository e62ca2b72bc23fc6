"""The `blear` command on broken FER2013 data: one message, exit code 2, nothing half-written."""

import pytest


def break_image(rows, folder):
    rows.write_folders(folder)
    picture = next((folder / "train" / "happy").iterdir())
    picture.write_bytes(picture.read_bytes()[:60])
    return folder, picture.name


def drop_column(rows, folder):
    path = rows.write_csv(folder / "fer2013.csv", "emotion,pixels")
    return path, "Usage"


def empty_split(rows, folder):
    keep = [n for n, usage in enumerate(rows.usages) if usage != "Training"]
    rows.usages, rows.labels = [rows.usages[n] for n in keep], [rows.labels[n] for n in keep]
    rows.faces = rows.faces[keep]
    return rows.write_csv(folder / "fer2013.csv"), "train"


def wrong_pixels(rows, folder):
    path = rows.write_csv(folder / "fer2013.csv")
    lines = path.read_text().splitlines()
    lines[3] = lines[3].replace(" ", " 999 ", 1)
    path.write_text("\n".join(lines) + "\n")
    return path, "fer2013.csv"


@pytest.mark.parametrize("damage", [break_image, drop_column, empty_split, wrong_pixels])
def test_invalid_raw_data_is_one_message(blear, storage, rows, tmp_path, damage):
    folder = tmp_path / "raw"
    folder.mkdir()
    source, named = damage(rows, folder)
    done = blear("prepare", "fer/fer2013", str(source))
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "  -> " in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((storage / "shards").rglob("dataset.json"))
    leftover = [p.name for p in (storage / "shards").rglob("*") if "partial" in p.name or p.name.startswith(".tmp")]
    assert leftover == []


def test_a_missing_source_is_one_message(blear, tmp_path):
    done = blear("prepare", "fer/fer2013", str(tmp_path / "none"))
    assert done.returncode == 2
    assert str(tmp_path / "none") in done.stderr
    assert "Traceback" not in done.stderr
