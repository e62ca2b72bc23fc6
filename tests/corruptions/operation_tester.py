"""Tests for every operation of ImageNet-C. A test class inherits the tests and lists its operations."""

import itertools

import numpy as np
import pytest
import torch

from blear.contracts import BuildContext, ClipSpec, Degradation, DrawKeys
from blear_faces.dataset import ProceduralFaces
from blear_faces.params import ProceduralParams, Subjects


def keys(count, epoch=0, first=0):
    """Returns keys of `count` consecutive samples."""
    return DrawKeys(3, 1, np.full(count, epoch), np.arange(first, first + count))


def faces(count, size):
    """Returns procedural faces, float32 [count, 1, 3, size, size] in 8-bit steps."""
    params = ProceduralParams(size=max(size, 24), subjects=Subjects(train=count, dev=1), per_subject=1, recordings=1)
    dataset = ProceduralFaces(params, BuildContext(seed=3))
    pictures = [s.frames for part in dataset.parts("train") for s in dataset.samples("train", part)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 1, 4, 2, 3).float() / 255


def context(length, channels, height, width):
    """Returns the build context of a component for clips of this shape."""
    return BuildContext(clip=ClipSpec(length, channels, height, width))


class OperationTester:
    """Base class of the tests. A subclass parametrises `name` and defines `build`.

    Attributes:
        certain: operations without a random pattern: two samples with one severity are changed alike.
        untaught: operations without a gradient.
        uneven: (operation, table) pairs with published numbers whose PSNR does not fall at every severity.
    """

    certain: frozenset[str] = frozenset()
    untaught: frozenset[str] = frozenset()
    uneven: frozenset[tuple[str, int]] = frozenset()

    def build(self, name, context, **params):
        """Returns the operation."""
        raise NotImplementedError

    @pytest.mark.parametrize(("channels", "height", "width"), [(1, 6, 9), (3, 9, 6), (3, 40, 33)])
    def test_keeps_shape_dtype_and_range(self, name, channels, height, width):
        clips = torch.rand(5, 2, channels, height, width, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.1
        for per in ("clip", "frame"):
            op = self.build(name, context(2, channels, height, width), per=per)
            assert isinstance(op, Degradation)
            draws = op.draw(keys(5))
            assert all(len(value) == 5 for value in draws.values())
            out = op.apply(clips, draws)
            assert (out.shape, out.dtype) == (clips.shape, clips.dtype)
            assert bool(torch.isfinite(out).all())
            assert out.min() >= 0
            assert out.max() <= 1
            assert op.apply(clips.half(), draws).dtype == torch.float16

    def test_result_depends_on_the_key_and_not_on_the_batch(self, name):
        clips = faces(1, 24).expand(6, 2, 3, 24, 24)
        for per in ("clip", "frame"):
            op = self.build(name, context(2, 3, 24, 24), per=per)
            out = op.apply(clips, op.draw(keys(6)))
            assert torch.equal(out, op.apply(clips, op.draw(keys(6))))
            alone = torch.cat([op.apply(clips[k : k + 1], op.draw(keys(1, first=k))) for k in range(6)])
            torch.testing.assert_close(out, alone, atol=2e-5, rtol=0)
            fixed = self.build(name, context(2, 3, 24, 24), per=per, severity=4)
            first, later = (fixed.apply(clips, fixed.draw(keys(6, epoch))) for epoch in (0, 1))
            assert torch.equal(first, later) == (name in self.certain)

    def test_per_clip_and_per_frame_patterns(self, name):
        clips = faces(1, 24).expand(2, 3, 3, 24, 24)
        alike, apart, longer = (
            self.build(name, context(length, 3, 24, 24), per=per, severity=4)
            for per, length in (("clip", 3), ("frame", 3), ("frame", 5))
        )
        out = alike.apply(clips, alike.draw(keys(2)))
        torch.testing.assert_close(out, out[:, :1].expand_as(out), atol=1e-6, rtol=0)
        out = apart.apply(clips, apart.draw(keys(2)))
        assert torch.allclose(out[:, 0], out[:, 1], atol=1e-6) == (name in self.certain)
        assert torch.equal(longer.draw(keys(2))["key"][:, :3], apart.draw(keys(2))["key"])

    @pytest.mark.parametrize("table", [224, 64, 32])
    def test_psnr_falls_from_level_to_level(self, name, table):
        clips = faces(4, 48).expand(4, 1, 3, 48, 48)
        levels = self.build(name, BuildContext(), table=table).levels()
        assert [level["severity"] for level in levels] == [1, 2, 3, 4, 5]
        psnr = []
        for level in levels:
            op = self.build(name, context(1, 3, 48, 48), table=table, **level)
            error = (op.apply(clips, op.draw(keys(4))) - clips).double().square().mean(dim=(1, 2, 3, 4))
            psnr.append((-10 * error.clamp(min=1e-12).log10()).mean().item())
        falls = all(later < earlier - 0.001 for earlier, later in itertools.pairwise(psnr))
        assert falls == ((name, table) not in self.uneven), psnr
        assert psnr[0] < 60

    def test_gradient_equals_finite_differences(self, name):
        generator = torch.Generator().manual_seed(2)
        clips = (0.4 + 0.2 * torch.rand(1, 1, 3, 16, 16, generator=generator)).requires_grad_()
        op = self.build(name, context(1, 3, 16, 16), severity=2)
        draws = op.draw(keys(1))
        weights = torch.rand(clips.shape, generator=generator)
        loss = (op.apply(clips, draws) * weights).sum()
        if name in self.untaught:
            assert not loss.requires_grad
            return
        loss.backward()
        direction = torch.rand(clips.shape, generator=generator) * 1e-4
        ahead, behind = (
            (op.apply(clips.detach() + sign * direction, draws).double() * weights).sum() for sign in (1, -1)
        )
        slope = (clips.grad * direction).sum().item()
        assert abs(slope) > 1e-6
        assert slope == pytest.approx((ahead - behind).item() / 2, rel=0.05)

    def test_compiles_as_one_graph(self, name):
        clips = torch.rand(2, 1, 3, 16, 16, generator=torch.Generator().manual_seed(4))
        op = self.build(name, context(1, 3, 16, 16), severity=1, table=32)
        draws = op.draw(keys(2))
        torch.compiler.reset()  # all operations share one `apply`; Dynamo compiles one function at most eight times
        compiled = torch.compile(op.apply, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(clips, draws), op.apply(clips, draws), atol=1e-5, rtol=0)
