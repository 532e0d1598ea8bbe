"""A finished graph as the bytes of a model file."""

from __future__ import annotations

import onnx

from ecovision_edge.bundle.contract import METADATA_KEY, Contract

__all__ = ["finish"]


def finish(model: onnx.ModelProto, contract: Contract) -> bytes:
    """Write the model file: contract in the metadata, checked by `onnx.checker`, the same bytes each time."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    onnx.helper.set_model_props(result, {METADATA_KEY: contract.dumps()})
    onnx.checker.check_model(result, full_check=True)
    data: bytes = result.SerializeToString(deterministic=True)
    return data
