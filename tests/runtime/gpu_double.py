"""A double of an onnxruntime built for NVIDIA: answers are the CPU's, options are checked by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"

# As the libraries of both providers in onnxruntime-gpu 1.31.1 hold them, and their pages at onnxruntime.ai.
_CUDA = """
    device_id gpu_mem_limit arena_extend_strategy cudnn_conv_algo_search cudnn_conv_use_max_workspace
    cudnn_conv1d_pad_to_nc1d do_copy_in_default_stream enable_cuda_graph use_tf32 prefer_nhwc fuse_conv_bias
    use_ep_level_unified_stream tunable_op_enable tunable_op_tuning_enable
"""
_TENSORRT = """
    device_id trt_auxiliary_streams trt_bf16_enable trt_builder_optimization_level trt_cuda_graph_enable
    trt_dla_core trt_dla_enable trt_engine_cache_enable trt_engine_cache_path trt_engine_cache_prefix
    trt_engine_hw_compatible trt_fp16_enable trt_int8_enable trt_max_workspace_size trt_min_subgraph_size
    trt_profile_max_shapes trt_profile_min_shapes trt_profile_opt_shapes trt_timing_cache_enable
    trt_timing_cache_path
"""
OPTIONS = {CPU: frozenset[str](), CUDA: frozenset(_CUDA.split()), TENSORRT: frozenset(_TENSORRT.split())}


class Gpu:
    """What sessions were opened with, and the batches that they ran.

    Args:
        lacks: Providers that it was built with and cannot load: sessions come without them.
        error: How far its logits are from the CPU's.
    """

    def __init__(self, lacks: Sequence[str] = (), error: float = 0.0) -> None:
        self.lacks, self.error = lacks, error
        self.opened: list[dict[str, dict[str, str]]] = []
        self.batches: list[int] = []
        self._open = ort.InferenceSession

    def session(
        self,
        model: Any,
        settings: Any = None,
        *,
        providers: Sequence[str],
        provider_options: Sequence[dict[str, str]] | None = None,
        enable_fallback: int = 1,
    ) -> Session:
        """In place of `onnxruntime.InferenceSession`."""
        options = provider_options or [{} for _ in providers]
        for name, given in zip(providers, options, strict=True):
            if unknown := given.keys() - OPTIONS[name]:
                raise RuntimeError(f'Unknown provider option: "{min(unknown)}".')
            assert all(isinstance(value, str) for value in given.values())
        self.opened.append(dict(zip(providers, options, strict=True)))
        used = [name for name in providers if name not in self.lacks]
        real = self._open(model, settings, providers=[CPU], enable_fallback=0)
        return Session(self, real, [*used, *([] if CPU in used else [CPU])])


class Session:
    """A session on providers that this machine has not."""

    def __init__(self, gpu: Gpu, real: ort.InferenceSession, providers: list[str]) -> None:
        self._gpu, self._real, self._providers = gpu, real, providers

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def get_providers(self) -> list[str]:
        """Those in use; the CPU is always the last."""
        return self._providers

    def run(self, names: list[str], inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Answer as the CPU, but for the error."""
        (batch,) = inputs.values()
        self._gpu.batches.append(len(batch))
        return [answer + np.float32(self._gpu.error) for answer in self._real.run(names, inputs)]
