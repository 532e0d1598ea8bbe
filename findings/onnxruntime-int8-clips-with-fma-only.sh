#!/usr/bin/env bash
# onnxruntime on x86: uint8 times int8 clips only on a CPU with AVX2 and FMA and without VNNI; older ones are exact.
#
# Ground: its documentation warns that u8 x s8 products saturate "on x86-64 with AVX2 and AVX512 extensions", the reason
# for reduce_range; what older CPUs do is not said. One MatMulInteger of 255 by 127, 64 long; CPUs by qemu-user.
# Guess before running: all below VNNI clip alike, for the instruction that does it (pmaddubsw) came with SSSE3, long
# before AVX2; or at least all with AVX2 do.
# Seen (onnxruntime 1.32.0, qemu 7.2.22; right is 2,072,640):
#   Nehalem (SSE4.2), SandyBridge (AVX), Denverton (an Atom): 2,072,640
#   Haswell: 1,048,544, which is 64 / 2 sums of two products cut at 32,767
#   Haswell without FMA: 2,072,640
# So the same file gives one answer on an old Celeron or Atom and another on a newer Core, and a test on the old one
# says nothing about the new one.
# What to do: decide by avx2 and fma and not avx_vnni or avx512_vnni in /proc/cpuinfo, not by "no VNNI"; do not pay
# reduce_range's accuracy where it does not clip; try golden vectors on the CPU itself.
#
# Wants qemu-x86_64 on an x86-64 machine: apt-get install qemu-user. Each start takes some ten seconds.
# usage: bash findings/onnxruntime-int8-clips-with-fma-only.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
[ "$(uname -m)" = x86_64 ] || { echo "this wants an x86-64 machine" >&2; exit 2; }
command -v qemu-x86_64 >/dev/null || { echo "qemu-x86_64 is not installed: apt-get install qemu-user" >&2; exit 2; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check onnxruntime==1.32.0 numpy==2.2.6 onnx==1.23.2
venv/bin/python - <<'PYTHON'
import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

weight = numpy_helper.from_array(np.full((64, 16), 127, np.int8), "w")
graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "product",
                          [helper.make_tensor_value_info("x", TensorProto.UINT8, (4, 64))],
                          [helper.make_tensor_value_info("y", TensorProto.INT32, (4, 16))], [weight])
save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), "product.onnx")
PYTHON
cat >ask.py <<'PYTHON'
import numpy as np
import onnxruntime

onnxruntime.set_default_logger_severity(4)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession("product.onnx", options)
answer, = session.run(None, {"x": np.full((4, 64), 255, np.uint8)})
assert (answer == answer[0, 0]).all()
print(answer[0, 0])
PYTHON
qemu-x86_64 --version | head -1
so=0
for case in Nehalem=2072640 SandyBridge=2072640 Denverton=2072640 Haswell=1048544 Haswell,-fma=2072640; do
    cpu=${case%=*}
    # Most emulated CPUs lack something that qemu then warns about; that is no matter here.
    answer=$(OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 qemu-x86_64 -cpu "$cpu" "$(readlink -f venv/bin/python)" -I -c \
        "import sys; sys.path.insert(0, '$(echo venv/lib/python3*/site-packages)'); exec(open('ask.py').read())" \
        2>log | tail -1) || { cat log >&2; exit 1; }
    echo "$cpu: $answer"
    [ "$answer" = "${case#*=}" ] || so=1
done
[ $so = 0 ] && echo "still so: it clips with AVX2 and FMA, and without VNNI" || echo "changed"
exit $so
