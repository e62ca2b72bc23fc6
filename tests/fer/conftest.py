"""Fixtures: tiny FER2013 and FERPlus folders in the original layouts."""

import io
import zipfile
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

FER2013_NAMES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
VOTES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")


@dataclass
class Rows:
    """Rows in the official order: `usages` and `labels` of `faces` [N, 48, 48], and `votes` [N][10]."""

    usages: list
    labels: list
    faces: np.ndarray
    votes: list

    def __len__(self):
        return len(self.labels)

    def write_csv(self, path, header="emotion,pixels,Usage", newline="\n"):
        order = [name.strip() for name in header.split(",")]
        lines = [header]
        for usage, label, face in zip(self.usages, self.labels, self.faces, strict=True):
            fields = {"emotion": str(label), "Usage": usage, "pixels": " ".join(map(str, face.ravel().tolist()))}
            lines.append(",".join(fields[name] for name in order))
        path.write_bytes((newline.join(lines) + newline).encode())
        return path

    def write_icml(self, path):
        return self.write_csv(path, "emotion, Usage, pixels")

    def write_folders(self, folder):
        for row, (usage, label, face) in enumerate(zip(self.usages, self.labels, self.faces, strict=True)):
            place = folder / ("train" if usage == "Training" else "test") / FER2013_NAMES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(face).save(place / f"{usage}_{1000 + row}.png")
        return folder

    def write_zip(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        header = ["row", "file", "split", "usage", "label", *(f"ferplus_{name}" for name in VOTES)]
        lines = [",".join(header)]
        with zipfile.ZipFile(folder / "faces.zip", "w") as archive:
            for row in range(len(self)):
                name, data = f"all/{row:05d}.png", io.BytesIO()
                Image.fromarray(self.faces[row]).save(data, "PNG")
                archive.writestr(name, data.getvalue())
                fields = [row, name, "x", self.usages[row], self.labels[row], *self.votes[row]]
                lines.append(",".join(map(str, fields)))
        (folder / "labels.csv").write_text("\n".join(lines) + "\n")
        return folder

    def write_votes(self, path):
        lines = [",".join(["Usage", "Image name", *VOTES])]
        for row, (usage, votes) in enumerate(zip(self.usages, self.votes, strict=True)):
            # as in the official file: no name if all votes are NF, and numbers that differ from the row numbers
            name = "" if votes[9] == 10 else f"fer{max(row - 1, 0):07d}.png"
            lines.append(",".join([usage, name, *map(str, votes)]))
        path.write_text("\n".join(lines) + "\n")
        return path


@pytest.fixture
def rows():
    """Twelve rows: seven Training (one of each class), three PublicTest, two PrivateTest."""
    rng = np.random.default_rng(0)
    faces = rng.integers(0, 256, (12, 48, 48), dtype=np.uint8)
    usages = ["Training"] * 7 + ["PublicTest"] * 3 + ["PrivateTest"] * 2
    votes = [
        [0, 0, 0, 0, 10, 0, 0, 0, 0, 0],  # 0: anger
        [1, 1, 1, 1, 1, 5, 0, 0, 0, 0],  # 1: disgust once single votes are gone
        [0, 0, 0, 0, 0, 0, 5, 5, 0, 0],  # 2: a tie
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # 3: not a face, and no image name
        [0, 0, 0, 3, 2, 0, 0, 0, 5, 0],  # 4: exactly half is unknown: no majority
        [0, 0, 2, 0, 0, 0, 1, 0, 7, 0],  # 5: unknown wins
        [6, 0, 0, 4, 0, 0, 0, 0, 0, 0],  # 6: neutral
        [0, 10, 0, 0, 0, 0, 0, 0, 0, 0],  # 7: happiness
        [1, 1, 1, 1, 1, 1, 1, 1, 1, 1],  # 8: nothing is left
        [0, 0, 0, 0, 0, 0, 1, 8, 0, 0],  # 9: contempt, nine votes in all
        [0, 0, 0, 0, 0, 0, 10, 0, 0, 0],  # 10: fear
        [0, 0, 0, 10, 0, 0, 0, 0, 0, 0],  # 11: sadness
    ]
    return Rows(usages, [0, 1, 2, 3, 4, 5, 6, 3, 0, 6, 2, 4], faces, votes)


@pytest.fixture(scope="session")
def real_fer2013(real_data):
    """The zip mirror of the real pictures."""
    if not (real_data / "fer2013/faces.zip").is_file():
        pytest.skip(f"no fer2013/faces.zip in {real_data}")
    return real_data / "fer2013"
