"""The application on Ray Serve."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

import blear
from ports import free_port
from serving import call, expected_probabilities

pytestmark = pytest.mark.cluster


def test_two_replicas_answer_as_the_model(ray_here):
    from ray import serve

    from blear.serve import app

    face = np.asarray(Image.effect_noise((48, 48), 60))
    stream = io.BytesIO()
    Image.fromarray(face).save(stream, "PNG")
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(app({"models": "robust-faces", "replicas": "2", "cpus": "0.1"}), name="blear")
        status = serve.status().applications["blear"]
        assert (status.status, status.deployments["blear"].replica_states) == ("RUNNING", {"RUNNING": 2})
        model = blear.load("robust-faces")
        answers: list = []

        def ask():
            answers.append(call(f"http://127.0.0.1:{port}/predict", stream.getvalue(), faces="crop"))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for code, answer in answers:
            assert code == 200
            one = answer["frames"][0]["faces"][0]
            found = one["models"]["robust-faces"]["targets"]["emotion"]["probabilities"]
            expected = expected_probabilities(model, face[None], one)
            np.testing.assert_allclose(list(found.values()), expected, atol=2e-4)
        assert call(f"http://127.0.0.1:{port}/predict", b"hello")[0] == 415
    finally:
        serve.shutdown()
    with pytest.raises(blear.BlearError, match="there is no argument 'model'"):
        app({"model": "robust-faces"})
    with pytest.raises(blear.BlearError, match="an argument is no number"):
        app({"replicas": "two"})
