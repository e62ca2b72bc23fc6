"""Tiny trees of RAF, AffectNet, Friends, AnotherMissOh and CK+ in their raw layouts, pictures of own flat colours."""

import io
import json
import pickle

import numpy as np
from PIL import Image

EMOTIONS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


def picture(path, colour, width=60, height=50, square=None):
    """A flat picture; `square` (left, top, right, bottom) of it is white."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((height, width, 3), colour, dtype=np.uint8)
    if square is not None:
        left, top, right, bottom = square
        image[top:bottom, left:right] = 255
    Image.fromarray(image).save(path, quality=100, subsampling=0)


def text(path, lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


def raf_face(package, stem, colour=(10, 20, 30), box="10 12 30 40", attributes=("1", "0", "2")):
    picture(package / "Image" / "original" / f"{stem}.jpg", colour)
    picture(package / "Image" / "aligned" / f"{stem}_aligned.jpg", colour, 100, 100)
    text(package / "Annotation" / "boundingbox" / f"{stem}_boundingbox.txt", [box])
    points = ["15.5\t20", "25 20.25", "20\t27", "16 33", "24 33"]
    text(package / "Annotation" / "manual" / f"{stem}_manu_attri.txt", [*points, *attributes])


def raf(root):
    """basic: all 7 codes (two of them test); compound: 11; multi: 3."""
    basic, compound, multi = (root / name for name in ("basic", "compound", "multi"))
    labels = [("train_00001", 5), ("train_00002", 1), ("train_00003", 2), ("train_00004", 3), ("train_00005", 4)]
    labels += [("test_0001", 6), ("test_0002", 7)]
    text(basic / "EmoLabel" / "list_patition_label.txt", [f"{stem}.jpg {code}" for stem, code in labels])
    for stem, code in labels:
        raf_face(basic, stem, colour=(20 * code, 0, 0))
    labels = [(f"train_{code:04d}" if code < 10 else f"test_{code:04d}", code) for code in range(1, 12)]
    text(compound / "EmoLabel" / "list_patition_label.txt", [f"{stem}.jpg {code}" for stem, code in labels])
    for stem, _ in labels:
        raf_face(compound, stem)
    rows = [
        ("train_0001", "0.1 0.2 0.3 0.05 0.15 0.2"),
        ("train_0002", "0 0 0 0.4 0 0.1"),
        ("test_0003", "0.5 0.5 0.01 0 0 0"),
    ]
    text(multi / "EmoLabel" / "distribution.txt", [f"{stem}.jpg {shares}" for stem, shares in rows])
    for stem, _ in rows:
        picture(multi / "Image" / "original" / f"{stem}.jpg", (0, 90, 0))
    manual = multi / "Annotation" / "manual"
    text(manual / "train_0001_manu_ldmk.txt", ["20.0\t10.0", "40.0\t16.0", "30.0\t30.0"])
    text(manual / "train_0002_manu_ldmk.txt", ["20 10", "40 16", "30 30", "0", "2", "3"])
    text(manual / "test_0003_manu_ldmk.txt", ["20\t10", "40\t30"])
    return root


HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
LANDMARKS = ";".join(f"{n}.5;{n + 1}" for n in range(68))


def affectnet_row(path, expression, box="5,6,20,30", valence=0.25, arousal=-0.5):
    return f"{path},{box},{LANDMARKS},{expression},{valence},{arousal}"


def affectnet_csv(root):
    """Training: expressions 0 to 10, and a happy face without box; validation: one of each of 0, 6 and 7."""
    rows = [affectnet_row(f"{n}/train{n}.jpg", n) for n in range(11)]
    rows.append(affectnet_row("9/nobox.jpg", 1, box="NULL,NULL,NULL,NULL", valence=-2, arousal=-2))
    text(root / "training.csv", [HEADER, *rows])
    for n in range(11):
        picture(root / "Manually_Annotated_Images" / f"{n}" / f"train{n}.jpg", (10 * n, 100, 50))
    text(root / "validation.csv", [HEADER, *(affectnet_row(f"v/val{n}.jpg", n) for n in (0, 6, 7))])
    for n in (0, 6, 7):
        picture(root / "Manually_Annotated_Images" / "v" / f"val{n}.jpg", (10 * n, 0, 50))
    return root


def affectnet_folders(root):
    """Training pictures 2 (happiness), 10 (contempt) and 30 (anger); validation picture 0 (neutral)."""
    for split, faces in (("train_set", {2: 1, 10: 7, 30: 6}), ("val_set", {0: 0})):
        for n, expression in faces.items():
            picture(root / split / "images" / f"{n}.jpg", (3 * n, 60, 10), 224, 224)
            folder = root / split / "annotations"
            folder.mkdir(exist_ok=True)
            np.save(folder / f"{n}_exp.npy", np.array(str(expression)))  # the release stores text
            np.save(folder / f"{n}_val.npy", np.array("-0.125"))
            np.save(folder / f"{n}_aro.npy", np.array("0.5"))
            np.save(folder / f"{n}_lnd.npy", np.zeros(136))
    return root


def friends_face(emotion="happy", rect=("10", "8", "30", "38")):
    if isinstance(rect, tuple):
        rect = dict(zip(("min_x", "min_y", "max_x", "max_y"), rect, strict=True))
    return [{"emotion": emotion, "face_rect": rect}]


def friends_period(number, image, **people):
    return {
        "period_num": number,
        "start_time": "00:00:01;05",
        "end_time": "00:00:02;00",
        "image": image,
        "person": [people],
    }


def friends_episode(root, episode, periods, frames=9):
    text(root / f"s01_ep{episode:02d}_tag2_visual_Final_180809.json", [json.dumps({"visual_results": periods})])
    for k in range(frames):
        picture(root / f"ep{episode:02d}" / f"{k:05d}.jpg", (20 * k, 20 * episode, 0), square=(10, 8, 30, 38))


def friends(root):
    """Episodes 1, 9 and 10; in episode 1 three faces of six count."""
    periods = [
        friends_period(1, "Fr_s01_ep01_0003.jpg", ross=friends_face("Happy"), rachel=friends_face("none")),
        friends_period(
            "2",
            "f00005.png",
            joey=friends_face("anger", ("10  99", "8  1", "30", "38")),
            monica=friends_face(rect="none"),
        ),
        friends_period(
            3, "m7.jpg", **{"old man": friends_face("NEUTRAL"), "dog": friends_face(rect=("9", "9", "9", "9"))}
        ),
    ]
    friends_episode(root, 1, periods)
    for episode in (9, 10):
        friends_episode(root, episode, [friends_period(1, "Fr_0001.jpg", ross=friends_face("sadness"))])
    return root


class Python2Pickler(pickle._Pickler):
    """Writes protocol 2 as Python 2 does: bytes and the script's own texts as `str`, what it read as unicode."""

    def save_text(self, text):
        data = text if isinstance(text, bytes) else text.encode("ascii")
        if isinstance(text, str) and text not in {"img", "emo", "pos", "wav", "ep01", "ep09", "ep10"}:
            self.save_str(text)
            return
        self.write(pickle.SHORT_BINSTRING + bytes([len(data)]) + data)
        self.memoize(text)

    dispatch = {**pickle._Pickler.dispatch, str: save_text, bytes: save_text}  # noqa: RUF012  # pickle's own way


def save_as_python2(path, value):
    """`numpy.save(path, value)` of a dict, byte by byte as numpy 1.16 under Python 2.7 writes it."""
    array = np.array(value, dtype=object)
    body = io.BytesIO()
    Python2Pickler(body, protocol=2).dump(array)
    header = "{'descr': '|O', 'fortran_order': False, 'shape': (), }"
    header += " " * (117 - len(header)) + "\n"
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    path.write_bytes(start + body.getvalue().replace(b"numpy._core", b"numpy.core"))


def friends_cut(root, episode, period, character, emotion, frame):
    """The entry of one face in the authors' index, and its four pictures: frame k has the colour 20 k."""
    paths = []
    for k in range(frame - 2, frame + 2):
        name = f"ep{episode:02d}_p_img/{period:04d}_{character}_{emotion}_{k:05d}.jpg"
        picture(root / name, (20 * k, 20 * episode, 0), 224, 224)
        paths.append(name)
    return {"img": paths, "emo": emotion, "pos": [f"ep{episode:02d}", period, character, frame]}


def friends_index(root):
    """Faces of episodes 1, 9 and 10 as `parse_friends_new` leaves them: numbers are numpy's floats, as keys too."""
    index = {emotion: {} for emotion in range(7)}
    faces = [(3, 1, 1, "ross"), (0, 1, 2, "joey"), (4, 9, 1, "ross"), (4, 10, 1, "old man")]
    for emotion, episode, period, character in faces:
        entry = friends_cut(root, episode, period, character, emotion, 3 + period)
        index[emotion][np.float64(len(index[emotion]))] = entry
    index[4][np.float64(1)]["wav"] = "0001_old man_4_00004.wav"  # left by the script's last loop
    save_as_python2(root / "friends_parsed_new.npy", index)
    return root


def missoh_person(emotion="Happiness", rect=(10, 8, 30, 38), name="Dokyung"):
    sides = dict(zip(("min_x", "min_y", "max_x", "max_y"), rect, strict=True))
    info = {"behavior": "stand up", "emotion": emotion, "face_rect": sides, "full_rect": sides}
    return {"person_id": name, "person_info": info}


def missoh(root, **more):
    """Episodes 1, 7 and 8, a shot each; in episode 1 two faces of four count."""
    two = [missoh_person("Sadness"), missoh_person("Neutral", name="Haeyoung1")]
    none = [missoh_person(""), missoh_person(rect=("", "", "", ""), name="Jiya")]
    shots = {"AnotherMissOh01_001_0078": {4327: two, 4335: none, 4343: []}}
    shots |= {f"AnotherMissOh{n:02d}_002_0003": {10 * n: [missoh_person("Anger")]} for n in (7, 8)}
    full = {}
    for key, frames in (shots | more).items():
        full[key] = [{"frame_id": f"{key}_IMAGE_{n:010d}", "persons": persons} for n, persons in frames.items()]
        for n in frames:
            path = root.joinpath("AnotherMissOh_images", *key.split("_"), f"IMAGE_{n:010d}.jpg")
            picture(path, (60, n % 200, 0), square=(10, 8, 30, 38))
    text(root / "AnotherMissOh_Visual_full.json", [json.dumps(full)])
    return root


def ck_sequence(root, subject, name, frames, code):
    for n in range(1, frames + 1):
        stem = f"{subject}_{name}_{n:08d}"
        path = root / "cohn-kanade-images" / subject / name / f"{stem}.png"
        picture(path, (10 * n,) * 3, 64, 48)
        points = [f"   {20.0 + n + p % 9:.7e}   {10.0 + p % 17:.7e}" for p in range(68)]
        text(root / "Landmarks" / subject / name / f"{stem}_landmarks.txt", points)
    if code is not None:
        file = root / "Emotion" / subject / name / f"{subject}_{name}_{frames:08d}_emotion.txt"
        text(file, [f"   {code:.7e}"])


def ckplus(root):
    """Subjects S005 (disgust, and one without label), S010 (contempt, happy), S011 (surprise, two frames)."""
    ck_sequence(root, "S005", "001", 5, 3)
    ck_sequence(root, "S005", "002", 4, None)
    ck_sequence(root, "S010", "001", 4, 2)
    ck_sequence(root, "S010", "002", 4, 5)
    ck_sequence(root, "S011", "001", 2, 7)
    (root / "cohn-kanade-images" / ".DS_Store").write_text("")
    return root
