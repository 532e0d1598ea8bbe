"""From a graph to a float TFLite model, through litert-torch."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import onnx
import torch

from ecovision_edge.base.extras import require
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.errors import ExportError
from ecovision_edge_export.tflite.network import Network

__all__ = ["EXTRA", "convert", "quiet"]

EXTRA = "litert-export"


def convert(model: onnx.ModelProto, contract: Contract) -> bytes:
    """Make the TFLite model of an fp32 graph: float32 in and out, batch 1, channels last (see `Network`).

    Raises:
        ExportError: litert-torch failed, or a node has no rule.
        MissingDependencyError: the extra `litert-export` is not installed.
    """
    spec = contract.input
    network = Network(model, spec.height, spec.width).eval()
    sample = torch.zeros(spec.shape(1))
    with tempfile.TemporaryDirectory(prefix="ecovision-edge-") as folder, quiet():
        litert_torch = require("litert_torch", EXTRA)
        path = Path(folder) / "model.tflite"
        try:
            litert_torch.convert(network, (sample,)).export(str(path))
            return path.read_bytes()
        except Exception as e:  # of torch, jax, or the converter
            raise ExportError(
                "litert-torch cannot convert the network",
                found=f"{type(e).__name__}: {str(e)[:300]}",
                fix="choose --formats onnx, or install what the extra litert-export names",
            ) from e


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the converter's progress, warnings and logs off the user's terminal, native ones too."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    level = logging.root.level
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is wanted
            for descriptor in (1, 2):
                os.dup2(nowhere.fileno(), descriptor)
        logging.root.setLevel(logging.CRITICAL)
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.root.setLevel(level)
        for descriptor, copy in zip((1, 2), kept, strict=True):
            os.dup2(copy, descriptor)
            os.close(copy)
