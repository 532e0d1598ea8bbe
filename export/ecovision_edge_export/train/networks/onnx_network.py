"""An ONNX classifier of any architecture as a function on torch's tensors; onnxruntime runs it on the CPU."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime as ort
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everyone knows
from torch import Tensor

from ecovision_edge.base.names import quoted
from ecovision_edge.errors import OptionError
from ecovision_edge.modelfile.onnx import refuse_external_data

__all__ = ["LABELS_KEY", "OnnxNetwork"]

LABELS_KEY = "labels"
"""Metadata property of an ONNX model: its classes in the order of its output, as a JSON list of texts."""

_FATAL_ONLY = 4  # onnxruntime's log severity: what it would log comes as an exception too


class OnnxNetwork:
    """A classifier in one ONNX file.

    Its one input is float32 `(n, 3, h, w)`, its one output `(n, classes)`. A height or width that the model
    fixes is what inputs are resized to, bilinear and antialiased; one that it leaves open stays that of the
    inputs. A batch that it fixes is what they are cut into.

    Args:
        model: The file's bytes. External data is refused: a teacher is one file.
        option: The option and the file's name, for messages.
        threads: Of onnxruntime.

    Raises:
        ModelError: not one whole ONNX file.
        OptionError: onnxruntime cannot open it, or its input, output or labels are others.
    """

    def __init__(self, model: bytes, option: str, threads: int) -> None:
        self._option = option
        refuse_external_data(model)
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _FATAL_ONLY
        # Between two batches the student needs the cores.
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
            metadata = self._session.get_modelmeta().custom_metadata_map
        except Exception as e:  # onnxruntime's errors share no base class
            raise OptionError(
                option, expected="an ONNX model that onnxruntime opens", found=_first_line(e)
            ) from e
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 and inputs[0].type == "tensor(float)" else []
        if len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3) or len(outputs) != 1:
            raise OptionError(
                option,
                expected="one input, float32 (n, 3, height, width), and one output, (n, classes)",
                found=", ".join(f"{p.name} {p.type} {p.shape}" for p in (*inputs, *outputs))[:200],
                fix="export the classifier with its logits as its only output",
            )
        self._input = inputs[0].name
        self._batch, _, self._height, self._width = (d if isinstance(d, int) else None for d in shape)
        self.labels = _labels(metadata, option)

    def __call__(self, inputs: Tensor) -> Tensor:
        """Return the output `(n, classes)` float32 for inputs `(n, 3, h, w)`, on the device of these.

        Raises:
            OptionError: onnxruntime cannot run it at this size, or its output is of another shape or not
                finite.
        """
        images = inputs.detach().float().cpu()
        size = self._height or images.shape[2], self._width or images.shape[3]
        if size != tuple(images.shape[2:]):
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        step = self._batch or len(images)
        parts = [self._run(images[i : i + step]) for i in range(0, len(images), step)]
        return torch.cat(parts).to(inputs.device)

    def _run(self, images: Tensor) -> Tensor:
        """At most a batch."""
        count, lacking = len(images), (self._batch or 0) - len(images)
        if lacking > 0:
            images = torch.cat([images, images.new_zeros(lacking, *images.shape[1:])])
        shown = "x".join(map(str, images.shape))
        try:
            [found] = self._session.run(None, {self._input: np.ascontiguousarray(images.numpy())})
        except Exception as e:  # onnxruntime's errors share no base class
            raise OptionError(
                f"{self._option}: onnxruntime fails on an input of {shown}",
                found=_first_line(e),
                fix="export it with dynamic height and width, or with the fixed ones that it takes",
            ) from e
        if found.ndim != 2 or len(found) != len(images) or not np.isfinite(found).all():
            raise OptionError(
                f"{self._option}: its output for an input of {shown}",
                expected=f"finite logits ({len(images)}, classes)",
                found=str(found.shape) if np.isfinite(found).all() else "values that are not finite",
            )
        return torch.from_numpy(np.asarray(found[:count], np.float32))


def _labels(metadata: dict[str, str], option: str) -> tuple[str, ...] | None:
    """Return the classes in the order of the output; None if the model does not say."""
    text = metadata.get(LABELS_KEY)
    if text is None:
        return None
    try:
        labels = json.loads(text)
    except (ValueError, RecursionError):
        labels = None
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise OptionError(
            f"{option}: its metadata property {LABELS_KEY}",
            expected="a JSON list of texts, in the order of the output",
            found=quoted(text),
            fix="write such a list, or take the property out",
        )
    return tuple(labels)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
