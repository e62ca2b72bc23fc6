"""The JSON API of `blear serve` against the model itself, and who may use it."""

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import blear
from blear.cli import cli
from serving import Server, call, expected_probabilities


def face(number=0, side=48):
    rng = np.random.default_rng(number)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC))


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def probabilities(answer, model="robust-faces"):
    (frame,) = answer["frames"]
    return [list(one["models"][model]["targets"]["emotion"]["probabilities"].values()) for one in frame["faces"]]


@pytest.fixture(scope="module")
def model():
    return blear.load("robust-faces")


def test_a_cut_face_gives_the_probabilities_of_the_model(server, model):
    status, answer = call(f"{server.address}/predict", png(face()), faces="crop")
    assert status == 200
    one = answer["frames"][0]["faces"][0]
    expected = expected_probabilities(model, face()[None], one)
    np.testing.assert_allclose(probabilities(answer)[0], expected, atol=2e-4)
    assert tuple(one["models"]["robust-faces"]["targets"]["emotion"]["probabilities"]) == model.labels["emotion"]
    assert one["models"]["robust-faces"]["targets"]["emotion"]["label"] == model.labels["emotion"][expected.argmax()]
    assert (one["box"], one["face_px"], one["score"]) == ({"left": 0, "top": 0, "width": 48, "height": 48}, 48, None)


@pytest.mark.parametrize(
    ("controls", "degradations"),
    [
        ({"blur": 1.5}, [{"use": "blur", "sigma": 1.5}]),
        ({"scale": 3}, [{"use": "downscale", "factor": 3, "interpolation": "area", "enlarge": "bilinear"}]),
        ({"jpeg": 10, "noise": 20}, [{"use": "noise", "sigma": 20}, {"use": "codec/jpeg", "quality": 10}]),
        ({"crf": 40}, [{"use": "codec/h264", "crf": 40}]),
        ({"blur": 0, "jpeg": 100}, []),
    ],
)
def test_controls_degrade_the_input_of_the_model(server, model, controls, degradations):
    _, answer = call(f"{server.address}/predict", png(face()), faces="crop", show="true", **controls)
    degraded = np.asarray(blear.degrade(face()[None, ..., None], degradations))
    shown = answer["frames"][0]["faces"][0]["models"]["robust-faces"]["input"]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.removeprefix("data:image/png;base64,")))))
    np.testing.assert_array_equal(pixels, degraded[0, ..., 0])
    expected = expected_probabilities(model, degraded, answer["frames"][0]["faces"][0])
    np.testing.assert_allclose(probabilities(answer)[0], expected, atol=0.01)


def test_faces_of_given_boxes_are_framed_as_the_model_says(server, model):
    picture = np.zeros((120, 160, 3), np.uint8)
    picture[10:80, 20:90] = face(1, 70)[..., None]
    _, answer = call(f"{server.address}/predict", png(picture), box=["30,25,40,50", "0,60,20,30"])
    boxes = [blear.imaging.Box(30, 25, 40, 50), blear.imaging.Box(0, 60, 20, 30)]
    expected = [
        expected_probabilities(model, [model.framing.cut(picture, box)], found)
        for box, found in zip(boxes, answer["frames"][0]["faces"], strict=True)
    ]
    np.testing.assert_allclose(probabilities(answer), expected, atol=2e-4)
    assert [one["person"] for one in answer["frames"][0]["faces"]] == [1, 2]


def test_a_request_has_the_same_answer_among_others(server):
    alone = [call(f"{server.address}/predict", png(face(n)), faces="crop", blur=n % 3) for n in range(4)]
    damaged = png(face())[:200]

    def one(n):
        return call(
            f"{server.address}/predict", damaged if n % 6 else png(face(n // 6 % 4)), faces="crop", blur=n // 6 % 4 % 3
        )

    with ThreadPoolExecutor(16) as threads:
        results = list(threads.map(one, range(96)))
        refused = threads.map(
            lambda n: call(f"{server.address}/predict", png(face()), faces="crop", jpeg=50.5 if n % 4 == 0 else 50),
            range(16),
        )
        assert [status for status, _ in refused] == [422, 200, 200, 200] * 4
    for n, (status, answer) in enumerate(results):
        if n % 6:
            assert (status, answer["error"].split(":")[0]) == (422, "the upload")
        else:
            expected = alone[n // 6 % 4]
            assert status == expected[0] == 200
            np.testing.assert_allclose(probabilities(answer), probabilities(expected[1]), atol=1e-4)


@pytest.mark.parametrize(
    ("data", "query", "status", "message"),
    [
        (b"", {}, 422, "the request has no file"),
        (b"hello", {}, 415, "neither a picture"),
        (bytes(33_000_000), {}, 413, "more than 32 MB"),
        (png(face()), {"blur": 9}, 422, "blur: '9' is out of range\n  -> give a number from 0 to 4"),
        (png(face()), {"blur": "nan"}, 422, "blur: 'nan' is out of range"),
        (png(face()), {"blur": [1, 2]}, 422, "blur is given twice"),
        (png(face()), {"faces": "crops"}, 422, "faces: 'crops' is wrong: String should match"),
        (png(face()), {"sharpen": 1}, 422, "there is no parameter 'sharpen'"),
        (png(face()), {"box": "1,2,3"}, 422, "box: '1,2,3' is no box"),
        (png(face()), {"box": "1,2,inf,3"}, 422, "is no box"),
        (png(face()), {"box": "0,0,97,9"}, 422, "a box is more than 2 times as wide or high as the picture (48 x 48"),
        (png(face()), {"box": "0,0,60000,60000"}, 422, "a box is more than 2 times as wide"),
        (png(face()), {"box": ["0,0,90,90", "1,1,90,90"]}, 422, "more than 4 times the area of the picture"),
        (png(face()), {"box": "900,900,10,10"}, 422, "does not overlap the image of 48x48 pixels"),
    ],
)
def test_wrong_requests_have_a_status_and_a_message(server, data, query, status, message):
    found, answer = call(f"{server.address}/predict", data, **query)
    assert found == status
    assert message in answer["error"]


def test_forms_and_other_methods_have_a_message(server):
    status, answer = call(f"{server.address}/predict", png(face()), {"Content-Type": "multipart/form-data; boundary=x"})
    assert (status, answer["error"].split("\n")[0]) == (415, "the body is a form")
    assert [call(f"{server.address}/{path}")[0] for path in ("predict", "nowhere")] == [405, 404]
    assert call(f"{server.address}/predict")[1]["error"].startswith(
        "GET /predict: Method Not Allowed\n  -> POST a file"
    )


def test_only_this_machine_and_the_own_page_are_served(server):
    assert call(f"{server.address}/models", None, {"Host": "evil.example"})[0] == 403
    assert call(f"{server.address}/predict", png(face()), {"Origin": "http://evil.example"})[0] == 403
    assert call(f"{server.address}/predict", png(face()), {"Origin": server.address}, faces="crop")[0] == 200


def test_another_address_needs_a_token_and_a_network_of_others_has_a_time_limit(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    from hostile_models import endless_onnx

    monkeypatch.setenv("BLEAR_MODEL_SECONDS", "0.5")
    server = Server("--host", "0.0.0.0", "--margin", "0", str(endless_onnx(tmp_path, above=0.9)))
    try:
        assert len(server.token) >= 32
        assert call(f"{server.address}/models")[0] == 401
        assert call(f"{server.address}/models", None, {"Authorization": "Bearer wrong"})[0] == 401
        assert call(f"{server.address}/models", None, {"Authorization": f"Bearer {server.token}"})[0] == 200
        assert call(f"{server.address}/models", None, {"Cookie": f"blear_token={server.token}"})[0] == 200
        dark, bright = (png(np.full((24, 24, 3), value, np.uint8)) for value in (20, 255))
        found = [call(f"{server.address}/predict", data, faces="crop", token=server.token) for data in (bright, dark)]
        assert [status for status, _ in found] == [504, 200]
        assert "endless.onnx: one picture through the network takes more than 0.5 s" in found[0][1]["error"]
    finally:
        server.stop()


def test_the_openapi_description_names_every_parameter(server):
    _, api = call(f"{server.address}/openapi.json")
    operation = api["paths"]["/predict"]["post"]
    assert {one["name"] for one in operation["parameters"]} == {
        "faces", "box", "show", "blur", "scale", "noise", "jpeg", "crf",
    }  # fmt: skip
    assert set(operation["responses"]) == {"200", "408", "413", "415", "422", "503", "504"}
    _, facts = call(f"{server.address}/models")
    assert [one["name"] for one in facts["models"]] == ["robust-faces"]
    assert json.dumps(facts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no-such-model"], "no-such-model"),
        (["robust-faces", "robust-faces"], "robust-faces: the model is named twice"),
        (["--controls", "missing.yaml"], "no valid controls"),
        (["hf:folder", "--facts", "range=0,255"], "hf:folder: the pipeline has its own range"),
        (["--facts", "range=0,255"], "no model is a network of others"),
        (["--host", "0.0.0.0", "--token", ""], "the token is empty"),
    ],
)
def test_wrong_options_end_the_command(arguments, message):
    result = CliRunner().invoke(cli, ["serve", *arguments])
    assert result.exit_code != 0
    assert message in str(result.exception)


def test_controls_of_a_file_replace_the_default_ones(tmp_path):
    file = tmp_path / "controls.yaml"
    file.write_text("- {name: fog, label: Fog, use: fog, parameter: severity, low: 0, high: 5, step: 1, off: 0}\n")
    from blear.plugin.discovery import load_plugins
    from blear.serve.controls import read_controls

    (control,) = read_controls(file, load_plugins())
    assert control.entry(3) == {"use": "fog", "severity": 3}
    file.write_text(file.read_text().replace("use: fog", "use: no/such"))
    with pytest.raises(blear.BlearError, match="no/such"):
        read_controls(file, load_plugins())
    file.write_text("- {name: box, label: Box, use: blur, parameter: sigma, low: 0, high: 5, step: 1, off: 0}\n")
    with pytest.raises(blear.BlearError, match="the name 'box' is taken"):
        read_controls(file, load_plugins())
