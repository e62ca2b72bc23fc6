"""`blear budget`: bit rates against the program ffmpeg, agreement against its definition, the choice."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from blear.budget.agreement import Agreement, agreement, time_blocks
from blear.budget.encode import encode_video, source_rate, source_size
from blear.budget.faces import OriginalBoxes
from blear.budget.report import budget_json, budget_markdown
from blear.budget.run import Budget, BudgetOptions, Point, _source_rate, find_budget
from blear.budget.settings import Setting, grid
from blear.cli import cli
from blear.contracts import ClipSpec, Target
from blear.errors import DataError, RunError
from blear.imaging import Box
from blear.metrics import ccc
from blear.models.card import ModelCard
from blear.models.model import Model
from blear.predict.options import PredictOptions
from blear.predict.video import FrameWindow
from blear.video import read_video

SIZE, FRAMES = (96, 64), 40


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: textures that move and change from frame to frame."""
    path = tmp_path_factory.mktemp("budget") / "a clip.mp4"
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (12, 16, 3)).astype(np.uint8)
    texture = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    with av.open(str(path), "w") as container:
        # x264 gives different files for the same small frames with its default mbtree
        stream = container.add_stream("libx264", rate=20, options={"crf": "10", "mbtree": "0"})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FRAMES):
            picture = np.roll(texture, (3 * number, 5 * number), (0, 1))[: SIZE[1], : SIZE[0]]
            picture = np.clip(picture + generator.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random network with varied decisions on 24 x 24 pictures."""
    torch.manual_seed(0)
    network = {
        "backbone": {"use": "robust/plain_resnet", "channels": [4, 8], "blocks": [1, 0]},
        "head": {"use": "fer/emotion"},
    }
    target = Target("emotion", "class", ("sad", "happy", "neutral"))
    made = Model(ModelCard(name="net", network=network, clip=ClipSpec(1, 3, 24, 24), targets=(target,)))
    return made.save(tmp_path_factory.mktemp("model") / "net")


@pytest.mark.parametrize("setting", [Setting("h264", 1, 30), Setting("h264", 2, 40), Setting("vp9", 2, 40)])
def test_the_printed_command_gives_the_bit_rate(video: Path, tmp_path: Path, setting: Setting) -> None:
    own = encode_video(video, setting, tmp_path / "own.mkv")
    assert own.numbers == list(range(FRAMES))
    assert own.seconds == pytest.approx(2)
    assert own.scale == (setting.factor, setting.factor)
    command = shlex.split(setting.ffmpeg(video, SIZE))
    command[0] = imageio_ffmpeg.get_ffmpeg_exe()
    subprocess.run([*command[:-1], "-loglevel", "error", command[-1]], check=True, cwd=tmp_path)
    assert source_rate(tmp_path / command[-1]) == pytest.approx(own.bits / 2 / 1000, rel=0.1)
    with av.open(str(tmp_path / "own.mkv")) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height) == setting.size(*SIZE)


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1", "vp9"])
def test_an_encoder_writes_nothing_to_the_screen(
    codec: str, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SVT_LOG", raising=False)
    assert encode_video(video, Setting(codec, 1, 40), tmp_path / "own.mkv", seconds=0.2).bits > 0
    assert capfd.readouterr() == ("", "")


def test_agreement_is_the_share_of_equal_decisions_or_the_concordance() -> None:
    generator = np.random.default_rng(0)
    seconds = [np.arange(300) / 5, np.arange(200) / 5]
    blocks = time_blocks(seconds)
    assert len(np.unique(blocks)) == 30 + 20
    assert (np.unique(blocks, return_counts=True)[1] == 10).all()
    truth, found = generator.dirichlet(np.ones(3), 500), generator.dirichlet(np.ones(3), 500)
    found[:400] = truth[:400]
    same = truth.argmax(1) == found.argmax(1)
    share = agreement(truth, found, blocks, classes=True)
    assert share.value == pytest.approx(same.mean())
    spread = np.array([same[blocks == block].mean() for block in range(50)]).std() / np.sqrt(50)
    assert share.high - share.low == pytest.approx(2 * 1.96 * spread, rel=0.2)
    values, noisy = truth[:, :1], truth[:, :1] + generator.normal(0, 0.1, (500, 1))
    concordance = agreement(values, noisy, blocks, classes=False)
    assert concordance.value == pytest.approx(ccc(values[:, 0], noisy[:, 0]))
    assert concordance.low < concordance.value < concordance.high
    all_equal = agreement(truth[:60], truth[:60], blocks[:60], classes=True)
    assert (all_equal.value, all_equal.high) == (1, 1)
    assert all_equal.low == pytest.approx(0.025 ** (1 / 60))
    assert len(np.unique(time_blocks([np.arange(40) / 20]))) == 21  # shorter blocks in a video of two seconds


def test_few_blocks_give_no_narrow_interval() -> None:
    """Twenty faces of one frame are one block, whose resamples are all equal."""
    truth = np.eye(2)[np.zeros(20, dtype=int)]
    found = truth.copy()
    found[0] = 0, 1
    block = time_blocks([np.zeros(20)])
    assert agreement(truth, found, block, classes=True) == Agreement(0.95, 0.0, 1.0)
    assert agreement(truth, truth, block, classes=True) == Agreement(1.0, 0.0, 1.0)
    values = np.linspace(0, 1, 20)[:, None]
    concordance = agreement(values, values**2, block, classes=False)
    assert (concordance.low, concordance.high) == (-1, 1)


def test_the_rate_of_several_videos_is_weighted_by_their_lengths(video: Path, tmp_path: Path) -> None:
    encode_video(video, Setting("h264", 2, 40), tmp_path / "short.mkv", seconds=0.5)
    rates = [source_rate(one) for one in (video, tmp_path / "short.mkv")]
    expected = (2 * rates[0] + 0.5 * rates[1]) / 2.5
    assert _source_rate([video, tmp_path / "short.mkv"], None) == pytest.approx(expected)


def test_the_rate_of_videos_whose_packets_have_no_time_stamps(video: Path, tmp_path: Path) -> None:
    """A raw H.264 stream, for which FFmpeg assumes 25 frames/s, and an animated WebP file, which is one packet."""
    raw = tmp_path / "raw.h264"
    with av.open(str(raw), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2"})
        stream.width, stream.height = SIZE
        for frame in read_video(video):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.image_HWC, "rgb24")))
        container.mux(stream.encode())
    assert source_size(raw) == (8 * raw.stat().st_size, pytest.approx(FRAMES / 25))
    bits, length = source_size(raw, seconds=0.4)
    assert length == pytest.approx(0.4)
    assert bits < 8 * raw.stat().st_size
    webp = tmp_path / "animation.webp"
    first, *rest = [Image.fromarray(frame.image_HWC) for frame in read_video(video)]
    first.save(webp, save_all=True, append_images=rest, duration=50)
    assert source_size(webp) == (8 * webp.stat().st_size, pytest.approx(2))
    assert source_size(webp, seconds=0.5) == (2 * webp.stat().st_size, pytest.approx(0.5))


def test_boxes_are_those_of_the_original_in_pixels_of_the_encoded_video(video: Path, tmp_path: Path) -> None:
    encoded = encode_video(video, Setting("h264", 2, 30), tmp_path / "own.mkv", seconds=1)
    assert len(encoded.numbers) == 20
    table = OriginalBoxes({5: [Box(10, 20, 30, 40)]}, encoded)
    window = FrameWindow(5, 0.25, (np.zeros((32, 48, 3), np.uint8),))
    assert table([window])[0][0].box == Box(5, 10, 15, 20)


def test_settings_are_checked() -> None:
    assert [[s.crf for s in line] for line in grid(["h264"], [2, 1], [30, 20])] == [[20, 30]] * 2
    repeated = grid(["h264", "vp9", "h264"], [2, 1, 2], [30, 30])
    assert [one for line in repeated for one in line] == [Setting(c, f, 30) for c in ("h264", "vp9") for f in (1, 2)]
    with pytest.raises(RunError, match="there is no codec 'h266'"):
        grid(["h266"], [1], [])
    with pytest.raises(RunError, match="h264 has 0 to 51"):
        grid(["h264"], [1], [60])


def test_a_cheaper_setting_that_is_undecided_is_named() -> None:
    """One setting keeps 90 % for certain, a cheaper one perhaps, the cheapest one does not."""
    found = {30: (400.0, 0.99, 0.95, 1.0), 40: (100.0, 0.95, 0.85, 0.99), 50: (20.0, 0.5, 0.4, 0.6)}
    points = [Point(Setting("h264", 2, crf), row[0], Agreement(*row[1:])) for crf, row in found.items()]
    budget = Budget(points, 0.9, points[0], "emotion", True, 60, 800.0, [Path("clip.mp4")], (640, 360))
    text = budget_markdown(budget)
    assert "| h264, 1/2, 40 | 100.0 | 12.5 % | 0.950 [0.850, 0.990] | perhaps |" in text
    assert "cheapest that keeps 90 %: h264, 1/2, crf 30, 400.0 kbit/s. Perhaps h264, 1/2, crf 40 does too" in text
    assert "-vf scale=320:180:flags=area" in text


def test_the_cheapest_setting_that_keeps_the_decisions_is_chosen(
    video: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["budget", model, video, "--crops", "--every", "1", "--keep", "80%", "--factor", "1", "--factor", "2"]
    arguments += ["--crf", "20", "--crf", "51"]
    monkeypatch.chdir(tmp_path)
    Path("budget").mkdir()
    Path("budget/budget.json").write_text('{"command": "blear budget other.mp4"}')
    done = CliRunner().invoke(cli, list(map(str, arguments)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    content = json.loads(Path("budget-2/budget.json").read_text())
    points = content["points"]
    assert (content["faces"], content["metric"], content["keep"]) == (FRAMES, "equal decisions", 0.8)
    assert (points[0]["factor"], points[0]["crf"]) == (1, 20)
    assert all(p["low"] <= p["agreement"] <= p["high"] for p in points)
    kept = [p for p in points if p["low"] >= 0.8]
    assert content["best"] == min(kept, key=lambda p: p["kbps"], default=None)
    assert content["source_kbps"] == pytest.approx(source_rate(video))
    assert "| h264, 1/1, 20 |" in done.output
    assert ("ffmpeg -i" in done.output) == bool(kept)
    assert Path("budget-2/budget.png").read_bytes()[1:4] == b"PNG"
    assert list(Path("budget").iterdir()) == [Path("budget/budget.json")]


def test_frames_that_an_encoder_refuses_are_known_before_the_first_setting(video: Path, tmp_path: Path) -> None:
    """The video is read only for its size; the model, which does not exist, is not opened."""
    options = BudgetOptions(PredictOptions(model=str(tmp_path / "none")), codecs=("h264", "hevc"))
    with pytest.raises(RunError, match="libx265 encodes no frames of 80 x 54 pixels") as caught:
        find_budget([str(video)], replace(options, factors=(1, 1.2)))
    assert caught.value.where == "--codec hevc"


def test_an_address_is_no_video_file() -> None:
    with pytest.raises(DataError, match="is no video file"):
        find_budget(["http://127.0.0.1:9/a.mp4"], BudgetOptions(PredictOptions(model="robust-faces")))


@pytest.mark.parametrize("name", ["a:b.mp4", "-i.mp4", "with space.mp4"])
def test_the_printed_command_takes_every_file_name(
    name: str, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(video, f"./{name}")
    command = shlex.split(Setting("h264", 2, 40).ffmpeg(Path(name), SIZE))
    subprocess.run([imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error", *command[1:]], check=True)
    assert Path(f"{name.removesuffix('.mp4')}-h264-32p-crf40.mkv").is_file()


def test_an_undefined_concordance_and_a_name_that_is_no_text_are_written() -> None:
    """All faces have the same value: their concordance is undefined, and NaN is no JSON."""
    same = np.full((60, 1), 0.5)
    point = Point(Setting("h264", 2, 40), 100.0, agreement(same, same, time_blocks([np.arange(60) / 5]), classes=False))
    video = Path(os.fsdecode(b"clip\xff.mp4"))
    best = replace(point, agreement=Agreement(0.95, 0.92, 0.97))
    budget = Budget([point, best], 0.9, best, "valence", False, 60, 800.0, [video], (640, 360))
    text = budget_markdown(budget)
    assert "| undefined [-1.000, 1.000] | perhaps |" in text
    assert "clip\\udcff.mp4" in text.encode().decode()
    content = json.loads(budget_json(budget, "blear budget"), parse_constant=pytest.fail)
    assert content["points"][0]["agreement"] is None
    assert content["videos"] == ["clip\\udcff.mp4"]


def test_options_are_checked_before_the_videos_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for option in (["--factor", "nan"], ["--seconds", "inf"], ["--margin", "nan"], ["--out", str(tmp_path / "file")]):
        done = CliRunner().invoke(cli, ["budget", "a.mp4", *option])
        assert done.exit_code == 2
        assert "is no finite number" in done.output or "is a file" in done.output


@pytest.mark.parametrize("text", ["0", "120%", "much"])
def test_keep_is_a_share(text: str) -> None:
    done = CliRunner().invoke(cli, ["budget", "a.mp4", "--keep", text])
    assert done.exit_code == 2
    assert "is no share" in done.output
