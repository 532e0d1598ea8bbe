#!/usr/bin/env bash
# ExecuTorch's Python runtime takes a channels_last tensor and reads it as if it were contiguous: a frame that was
# permuted from HWC arrives scrambled, without an error. Any other view it refuses.
#
# Ground: y = 2x + 1 and a convolution, exported with a contiguous example and lowered with and without XNNPACK; run on
# one batch as pictures come: stored contiguous, channels_last, and as a frame in HWC that was permuted.
# Guess before running: a strided tensor is read by its strides, as PyTorch does, or refused, as it refuses a crop
# ("should be contiguous or channels-last", which reads as a promise).
# Seen (executorch 1.5.1, torch 2.14.1, x86-64):
#   contiguous: right to 1e-6
#   channels_last, and torch.from_numpy(frame).permute(2, 0, 1)[None]: taken; the answer is that of the bytes in memory
#     put into NCHW, and it has the strides of a contiguous tensor
#   a crop, every second column: refused; uint8, float64 or another shape: refused
# The usual lines from a camera to a tensor end in a permuted view, so it runs, and gives labels to a picture that is
# scrambled; the same lines in PyTorch are right.
# What to do: .contiguous() before execute(), or numpy.ascontiguousarray of NCHW.
#
# Downloads PyTorch, some gigabytes.
# usage: bash findings/executorch-channels-last-is-scrambled.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
pip="venv/bin/pip --disable-pip-version-check"
$pip install --quiet torch==2.14.1 numpy==2.4.6 torchao==0.18.0 flatbuffers==25.12.19 mpmath==1.3.0 \
  tabulate==0.9.0 ruamel.yaml==0.19.1 pyyaml==6.0.4 packaging==26.4
$pip install --quiet --no-deps executorch==1.5.1  # the rest of what it wants is for other backends
venv/bin/python - 2>log <<'PYTHON' || { cat log >&2; exit 1; }
import sys
from importlib.metadata import version

import numpy as np
import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from executorch.runtime import Runtime

print("executorch", version("executorch"), "torch", torch.__version__)
torch.manual_seed(0)


class Double(torch.nn.Module):
    def forward(self, x):
        return x * 2 + 1


frame = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)  # height, width, channels
x = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)[None]))
FORMS = {"contiguous": x, "channels_last": x.to(memory_format=torch.channels_last),
         "a frame, permuted": torch.from_numpy(frame).permute(2, 0, 1)[None],
         "a crop": torch.zeros(1, 3, 8, 10)[:, :, 2:6, 3:8], "every second column": torch.zeros(1, 3, 4, 10)[..., ::2],
         "uint8": x.to(torch.uint8), "float64": x.double(), "another shape": torch.zeros(1, 3, 5, 4)}
scrambled = torch.from_numpy(frame.reshape(1, 3, 4, 5))  # the frame's bytes taken for NCHW
so = True
for name, module in (("2x + 1", Double()), ("convolution", torch.nn.Conv2d(3, 4, 3, padding=1))):
    for partitioner in ([], [XnnpackPartitioner()]):
        exported = torch.export.export(module.eval(), (torch.zeros(1, 3, 4, 5),))
        program = Runtime.get().load_program(
            to_edge_transform_and_lower(exported, partitioner=partitioner).to_executorch().buffer)
        method = program.load_method("forward")
        with torch.no_grad():
            right, wrong = module(x), module(scrambled)
        for form, tensor in FORMS.items():
            try:
                found = method.execute([tensor])[0]
            except RuntimeError as error:
                answer = f"refused: {str(error)[:70]}"
                so &= form not in ("contiguous", "channels_last", "a frame, permuted")
            else:
                is_right = torch.allclose(found, right, atol=1e-5)
                is_wrong = torch.allclose(found, wrong, atol=1e-5)
                answer = "right" if is_right else "that of the bytes as NCHW" if is_wrong else "something else"
                so &= is_right == (form == "contiguous")
                so &= is_wrong == (form in ("channels_last", "a frame, permuted"))
            print(f"{name}, {'XNNPACK' if partitioner else 'portable'}, {form}: {answer}")
print("still so: channels_last is scrambled" if so else "changed")
sys.exit(not so)
PYTHON
