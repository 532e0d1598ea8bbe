#!/usr/bin/env bash
# safetensors.numpy 0.8.0 saves a transposed array with its shape and another order of values; 0.7.0 saved it rightly,
# and safetensors.torch refuses it.
#
# Ground: weights on their way from one framework to another: a kernel of Keras (height, width, in, out) transposed to
# PyTorch's order; beside it a Fortran-ordered matrix (scikit-learn's way) and every other channel.
# Guess before running: what load_file gives equals what save_file got, or save_file raises, as safetensors.torch does
# ("You are trying to save a non contiguous tensor").
# Seen (numpy 2.4.6):
#   safetensors 0.7.0: all three come back equal
#   safetensors 0.8.0: all three come back with the right shape and dtype and wrong values: the memory is written as it
#     lies, from the first element on; save() and save_file() alike; no error, no warning
#   an array that was copied (np.ascontiguousarray) is right in both
# The docstring of 0.8.0 asks for "contiguous and dense" tensors, and nothing checks it. The file passes every
# check of names, shapes and hashes, and the converted network is noise.
# What to do: np.ascontiguousarray for each array before saving, and load and compare once.
#
# usage: bash findings/safetensors-numpy-takes-strides.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
cat >check.py <<'PYTHON'
import sys
from importlib.metadata import version

import numpy as np
from safetensors.numpy import load, load_file, save, save_file

print("safetensors", version("safetensors"), "numpy", np.__version__)
kernel = np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32)
weights = {"transposed": kernel.transpose(3, 2, 0, 1), "fortran": np.asfortranarray(kernel[0, 0]),
           "every other": kernel[..., ::2], "copied": np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))}
equal = {}
for name, array in weights.items():
    save_file({name: array}, "weights.safetensors")
    back = load_file("weights.safetensors")[name]
    again = load(save({name: array}))[name]
    assert back.shape == array.shape and back.dtype == array.dtype and np.array_equal(back, again)
    equal[name] = np.array_equal(back, array)
    print(f"  {name}: shape {back.shape}, equal {equal[name]}, off by {np.abs(back - array).max():.2f}")
sys.exit([name for name, same in equal.items() if not same] != sys.argv[1:])
PYTHON
seen=0
for version in 0.7.0 0.8.0; do
  python3 -m venv "venv-$version"
  "venv-$version/bin/pip" install --quiet --disable-pip-version-check "safetensors==$version" numpy==2.4.6
  wrong=(); [ "$version" = 0.7.0 ] || wrong=(transposed fortran "every other")
  "venv-$version/bin/python" check.py "${wrong[@]}" || seen=1
done
[ "$seen" = 0 ] && echo "still so: 0.8.0 writes another order" || echo "changed"
exit "$seen"
