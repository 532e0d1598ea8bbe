"""This project's own runtime."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.base.providers import provider_arguments
from ecovision_edge.classifier import Classifier
from ecovision_edge.preprocess import Preprocessor
from ecovision_edge_bench.subjects import Facts, Frame, Probabilities, Spec

__all__ = ["load"]


class _ClassifierSubject:
    """The steps of `Classifier.classify`, one by one."""

    def __init__(self, spec: Spec) -> None:
        self._classifier = Classifier.load(
            spec.source,
            artifact=spec.artifact or "auto",
            threads=spec.threads,
            spinning=spec.spinning,
            delegate=spec.delegate or None,
            fp16=spec.fp16,
            **provider_arguments(spec.providers or None, spec.provider_options.splitlines()),
            profile=False,  # what is measured is what the spec says
        )
        bundle = self._classifier.bundle
        if bundle is None:
            data = Path(spec.source).read_bytes()
            digest, size = hashlib.sha256(data).hexdigest(), len(data)
        else:
            entry = bundle.artifact(self._classifier.artifact)
            digest, size = entry.file.sha256, entry.file.bytes
        backend = self._classifier.backend
        preprocessor = Preprocessor(self._classifier.contract)
        by = f" by {preprocessor.kernel}" if preprocessor.filter == "pil" else ""
        on = ""
        if spec.providers:
            from ecovision_edge.backends.onnx import OnnxBackend  # another artifact's engine may be absent

            assert isinstance(backend, OnnxBackend)
            on = f" on {', '.join(backend.providers)}"
        self._facts = Facts(
            f"ecovision-edge, {backend.engine}{on}",
            spec.precision,
            backend.threads,
            digest,
            size,
            f"ecovision-edge, filter {preprocessor.filter}{by}",
        )

    @property
    def facts(self) -> Facts:
        return self._facts

    def prepare(self, frame: Frame) -> npt.NDArray[np.uint8 | np.float32]:
        return self._classifier.prepare(frame)

    def reduction(self, height: int, width: int) -> int:
        return self._classifier.reduction(height, width)

    def infer(self, prepared: object) -> object:
        assert isinstance(prepared, np.ndarray)
        return self._classifier.run(prepared)

    def post(self, output: object) -> Probabilities:
        assert isinstance(output, np.ndarray)
        result: Probabilities = self._classifier.probabilities(output)[0]
        return result


def load(spec: Spec) -> _ClassifierSubject:
    """Load an artifact; raises as `Classifier.load`."""
    return _ClassifierSubject(spec)
