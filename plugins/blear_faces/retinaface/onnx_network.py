"""RetinaFace in onnxruntime, for CPUs: faster than PyTorch there in float32, and without its 0.5 GB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from blear.contracts import thread_count

GRAPH = Path(__file__).with_name("mobilenet0.25.onnx")
"""Written by docs/make_retinaface_graph.py; it refers to the weights in mobilenet0.25.safetensors."""
_FATAL = 4  # onnxruntime's level of log lines


class OnnxNetwork:
    """The network on pictures of the locator."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = thread_count()
        options.log_severity_level = _FATAL
        # The memory of the largest pictures is not kept.
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(GRAPH, options, providers=["CPUExecutionProvider"])

    def run(self, images_NHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `RetinaFace.forward`; int8 [N, H + 2, W + 2, 3], RGB minus 128 with a border of one pixel."""
        # One by one: a batch takes a quarter longer for each picture, since its layers leave the cache.
        outputs = [self._session.run(None, {"images": images_NHWC[n : n + 1]}) for n in range(len(images_NHWC))]
        scores_NA, boxes_NA4, points_NA10 = (np.concatenate(parts) for parts in zip(*outputs, strict=True))
        return scores_NA, boxes_NA4, points_NA10
