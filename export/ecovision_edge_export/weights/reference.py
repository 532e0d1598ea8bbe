"""The embedded reference weights, and how they are made from the trained checkpoint.

`python -m ecovision_edge_export.weights.reference SRC.pth` writes them again, byte for byte the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ecovision_edge.base.files import replace_file
from ecovision_edge.errors import CheckpointError, EcovisionError
from ecovision_edge_export.ecovision import LABELS, REFERENCE_WEIGHTS
from ecovision_edge_export.weights.checkpoint import load_checkpoint
from ecovision_edge_export.weights.weights_file import safetensors_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = ["main", "write_reference_weights"]

SMALL = 16384  # numbers; tensors below it are 6 % of all numbers, and hold the sensitive first stages


def write_reference_weights(src: Path, dst: Path = REFERENCE_WEIGHTS) -> str:
    """Write the checkpoint `src` as compact safetensors; the same bytes for the same weights.

    Large kernels and matrices become fp16, which halves the file. Small tensors stay fp32: among the
    variances are some near 1e-9, below what fp16 can hold, and where a variance is near 0 BatchNorm
    multiplies the rounding of the kernel before it by 30. Largest difference of a logit from all fp32, on 100
    photographs: 0.07 with everything in fp16, 0.11 with only vectors in fp32, 0.001 as it is done here.

    Returns:
        sha256 of the file written.

    Raises:
        CheckpointError: `src` is not a checkpoint of ten classes, or a weight does not fit in fp16.
    """
    import hashlib

    checkpoint = load_checkpoint(str(src), num_classes=len(LABELS))
    metadata = {
        "architecture": checkpoint.source.architecture,
        "labels": json.dumps(checkpoint.labels or LABELS),
        "license": "MIT",
        "origin_sha256": checkpoint.source.sha256,
    }
    data = safetensors_bytes({k: _compact(k, v) for k, v in checkpoint.state.items()}, metadata)
    replace_file(dst, [data])
    return hashlib.sha256(data).hexdigest()


def _compact(key: str, tensor: torch.Tensor) -> torch.Tensor:
    import torch

    if tensor.numel() < SMALL:
        return tensor
    half = tensor.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise CheckpointError(key, expected="weights up to 65504, the largest of fp16", found="larger ones")
    return half


def main(argv: Sequence[str] | None = None) -> int:
    """Command line of this module; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_export.weights.reference", description=__doc__
    )
    parser.add_argument("src", type=Path, help="the trained checkpoint, a .pth file")
    parser.add_argument("--output", type=Path, default=REFERENCE_WEIGHTS, help="default: in the package")
    arguments = parser.parse_args(argv)
    try:
        digest = write_reference_weights(arguments.src, arguments.output)
    except EcovisionError as e:
        sys.stderr.write(f"{e}\n")
        return e.exit_status
    sys.stdout.write(f"{arguments.output.name} {arguments.output.stat().st_size} bytes sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
