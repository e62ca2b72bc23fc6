"""The declarations and the jobs: names, lazy imports, described parameters, examples, published hyper-parameters."""

import subprocess
import sys
from importlib import import_module

import pytest

import blear_vtt
from blear.job.reader import read_job
from blear_vtt.datasets.params import CropParams

COMPONENTS = [
    *blear_vtt.register_datasets(),
    *blear_vtt.register_backbones(),
    *blear_vtt.register_heads(),
]


def test_names():
    names = ["affectnet", "raf", "stills", "friends", "another_missoh", "ckplus", "resnet18", "two_part"]
    assert [component.name for component in COMPONENTS] == names
    assert blear_vtt.PLUGIN_API == 1


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: c.name)
def test_declaration(component):
    module, attribute = component.build.split(":")
    assert callable(getattr(import_module(module), attribute))
    assert [name for name, f in component.params.model_fields.items() if not f.description] == []
    for example in component.examples:
        component.params.model_validate(example)


def test_import_is_cheap():
    code = "import sys, blear_vtt; print([m for m in ('torch', 'cv2', 'PIL') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["vtt_resnet", "vtt_tsm"])
def test_jobs_have_the_published_sampling_and_large_enough_pictures(repository, name):
    job, _ = read_job(repository / "jobs" / f"{name}.yaml")
    static = job.stages["static"]
    groups = [(group.share, group.where, group.even) for group in static.draw]
    others = ["anger", "disgust", "fear", "happiness", "sadness", "surprise"]
    raf, neutral, rest = groups
    assert raf == (0.2, {"source": "raf"}, None)
    assert neutral == (pytest.approx(0.8 * 0.33), {"source": "affectnet", "emotion": "neutral"}, None)
    assert rest == (pytest.approx(0.8 * 0.67), {"source": "affectnet", "emotion": others}, "emotion")
    optimizer = static.optimizer
    assert (optimizer.use, optimizer.amsgrad, optimizer.lr, optimizer.weight_decay) == ("adam", True, 2e-4, 5e-5)
    assert static.batch_size == 16
    room = job.data["stills"].params["room"]
    shift, scale = static.augment[0].params["translate"], static.augment[0].params["scale"]
    assert CropParams(room=room).pixels == 291
    assert shift * room == pytest.approx(0.1, abs=1e-3)  # of the exact square
    assert [1 / m for m in scale] == pytest.approx([1.1, 0.9], abs=1e-3)
    assert static.backbone.params["input"] == CropParams().size


def test_second_stage_loads_all_weights_of_the_first(repository):
    job, _ = read_job(repository / "jobs" / "vtt_tsm.yaml")
    tsm = job.stages["tsm"]
    assert tsm.backbone.start_from.stage == "static"
    assert tsm.backbone.start_from.take == ["*"]
    assert tsm.backbone.params == {"shift": "causal_stage", "classes": 7}
    optimizer = tsm.optimizer
    assert (optimizer.use, optimizer.amsgrad, optimizer.lr, optimizer.weight_decay) == ("adam", True, 1e-4, 5e-5)
    assert (tsm.batch_size, tsm.augment, tsm.validate_) == (4, [], None)
    assert [group.share for group in tsm.draw] == [0.33, 0.67]
