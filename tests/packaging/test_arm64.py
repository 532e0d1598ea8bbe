"""The wheel on an emulated Raspberry Pi: Debian 12 arm64 under qemu, Cortex-A72 (Pi 4) and A76 (Pi 5)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from tests.runtime.conftest import Forge

from ecovision_edge import Classifier, read_image
from ecovision_edge.backends.onnx import OnnxBackend
from ecovision_edge.base.device import read_cpu
from ecovision_edge.base.homes import PROFILE_DIR_VARIABLE
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench.arm64.counting import MOST_DIFFERENCE, count, find_models
from ecovision_edge_bench.arm64.making import make_root
from ecovision_edge_bench.arm64.process import count_process
from ecovision_edge_bench.arm64.root import PiRoot
from ecovision_edge_bench.arm64.steps import Step
from ecovision_edge_bench.arm64.tools import apt_line, missing_packages
from ecovision_edge_export.int8.exact import as_devices_compute
from ecovision_edge_export.int8.sessions import onnx_session

Tensors = dict[str, np.ndarray]

SHARED = Path(__file__).resolve().parents[3] / "shared"
FRAMES = 4
PHOTOGRAPHS = 12
TUNE_S = 120

pytestmark = [pytest.mark.packaging, pytest.mark.slow]


@pytest.fixture(scope="module")
def pi(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> PiRoot:
    """The emulated root with the wheel in it; half a minute."""
    missing = missing_packages()
    if missing:
        pytest.skip(f"needs an emulator and Debian's tools: {apt_line(missing)}")
    return make_root(tmp_path_factory.mktemp("pi"), wheel)


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_golden_vectors_pass_on_a_pi(pi: PiRoot, cpu: str) -> None:
    """`verify` of the embedded bundle: hashes, contract, and logits within the manifest's tolerance."""
    done = pi.python(cpu, "-m", "ecovision_edge", "verify", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["ok"] is True
    assert report["cpu"]["arch"] == "aarch64"


def test_a_pi_classifies_an_image_as_this_machine_does(pi: PiRoot, tmp_path: Path) -> None:
    """The same labels, and probabilities within a level or two of the quantized logits."""
    frames = [draw_frame(seed) for seed in range(FRAMES)]
    files = [str(tmp_path / f"{i}.png") for i in range(FRAMES)]
    for file, frame in zip(files, frames, strict=True):
        cv2.imwrite(file, frame)
    done = pi.python("cortex-a72", "-m", "ecovision_edge", "classify", *files, "--json", "-")
    assert done.returncode == 0, done.stderr
    # With exact sums, also where this machine's CPU would clip them.
    model = as_devices_compute(onnx.load(embedded_bundle_path() / "model.int8.onnx"))
    classifier = Classifier(OnnxBackend(model.SerializeToString()), artifact="int8-onnx")
    for row, frame in zip(json.loads(done.stdout)["images"], frames, strict=True):
        here = classifier.classify(frame)
        there = [row["probabilities"][label] for label in classifier.labels]
        assert np.abs(np.array(there) - here.probabilities).max() < 0.06
        assert row["label"] == here.label or here.margin < 0.06


RUN = textwrap.dedent("""
    import sys
    import numpy as np, onnxruntime as ort
    model, inputs, outputs = sys.argv[1:]
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    np.savez(outputs, **dict(zip(names, session.run(names, dict(np.load(inputs))))))
""")


def run_there(pi: PiRoot, cpu: str, model: onnx.ModelProto, inputs: Tensors, folder: Path) -> Tensors:
    """All outputs of a model on the emulated CPU."""
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "inputs.npz", **inputs)
    files = [str(folder / name) for name in ("model.onnx", "inputs.npz", "outputs.npz")]
    done = pi.python(cpu, "-c", RUN, *files)
    assert done.returncode == 0, done.stderr
    return dict(np.load(folder / "outputs.npz"))


def run_here(model: onnx.ModelProto, inputs: Tensors) -> Tensors:
    """All outputs on this machine, with exact sums also where its CPU would clip them."""
    session = onnx_session(as_devices_compute(model))
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_the_integer_part_gives_the_same_bits(
    pi: PiRoot, cpu: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """From the first quantized tensors on: on photographs where there are some, else on synthetic frames."""
    frames = [draw_frame(seed) for seed in range(FRAMES)]
    if os.environ.get("ECOVISION_DATA") or (SHARED / "data").is_dir():
        files = sorted((request.getfixturevalue("photographs") / "val").glob("*/*.jpg"))
        frames += [read_image(file) for file in files[:: max(1, len(files) // PHOTOGRAPHS)]]
    model, tensors = integer_part(frames)
    here = run_here(model, tensors)["logits"]
    there = run_there(pi, cpu, model, tensors, tmp_path)["logits"]
    assert there.shape == here.shape == (len(frames), 10)
    assert np.array_equal(here, there)


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a76"])
def test_elementwise_operators_give_the_same_bits_for_every_input(
    pi: PiRoot, cpu: str, tmp_path: Path
) -> None:
    """Each Add and Mul of the embedded model, on all 65,536 pairs of inputs."""
    model = elementwise_part()
    a, b = (x.reshape(-1).astype(np.uint8) for x in np.meshgrid(np.arange(256), np.arange(256)))
    here = run_here(model, {"a": a, "b": b})
    there = run_there(pi, cpu, model, {"a": a, "b": b}, tmp_path)
    assert here.keys() == there.keys()
    assert [name for name in here if not np.array_equal(here[name], there[name])] == []


ROWS = """
import sys
from pathlib import Path
from ecovision_edge_bench.measure.choose import choose_subjects
print(*(spec.key for spec in choose_subjects(Path(sys.argv[1]), against=("none",)).specs), sep="\\n")
"""


@pytest.mark.parametrize(("cpu", "half"), [("cortex-a72", False), ("cortex-a76", True)])
def test_tune_and_bench_take_fp16_where_the_kernel_lists_it(
    pi: PiRoot, cpu: str, half: bool, tmp_path: Path
) -> None:
    """Each model is tried in fp16 too, and agrees; elsewhere `tune` says why not, and nothing dies."""
    bundle = Forge().bundle(tmp_path / "bundle", precisions=("fp32-tflite", "int8-tflite"))
    own = {PROFILE_DIR_VARIABLE: str(tmp_path / "profiles")}
    tuned = tmp_path / "tuned.json"
    options = ["--threads", "1", "--parity-images", "4", "--budget", f"{TUNE_S}s", "--json", str(tuned)]
    command = ["-m", "ecovision_edge", "tune", str(bundle), *options, "--anyway", "--dry-run"]
    done = pi.python(cpu, *command, environment=own, timeout=4 * TUNE_S)
    document = json.loads(tuned.read_text())
    assert (document["fp16"] is None) == half, done.stderr
    rows = {key: row["golden"] for key, row in document["rows"].items() if row["fp16"]}
    names = {"fp32-tflite fp16 1t", "int8-tflite fp16 1t"} if half else set()
    assert {key for key in rows if key.endswith(" 1t")} == names
    assert all(row["fault"] is None or row["out_of_time"] for row in document["rows"].values()), done.stdout
    if half:
        assert "vectors" in str(rows["fp32-tflite fp16 1t"])
    listed = pi.python(cpu, "-c", ROWS, str(bundle), environment=own).stdout.splitlines()
    assert {key for key in listed if "fp16" in key} == names


def test_an_inference_takes_as_many_instructions_again_and_fewer_with_dot_products(pi: PiRoot) -> None:
    """The embedded int8 model: two processes within 0.01 %; Cortex-A76 has `udot`, A72 does not."""
    (model,) = (model for model in find_models([]) if "int8" in model.name)
    new, old = (count(pi, model, cpu) for cpu in ("cortex-a76", "cortex-a72"))
    assert len(new.repeats) == 2
    assert new.difference <= MOST_DIFFERENCE
    assert 0 < new.instructions < old.instructions


def test_preparing_takes_as_many_instructions_again(pi: PiRoot) -> None:
    """Of this checkout's runtime."""
    model, *_ = find_models([])
    counted = count(pi, model, "cortex-a76", step=Step("prepare", 320, 240))
    assert counted.difference <= MOST_DIFFERENCE
    assert counted.instructions > 224 * 224 * 3  # bytes that it writes


RESIZE = textwrap.dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from PIL import Image
    from ecovision_edge.preprocess.geometry import Geometry
    from ecovision_edge.preprocess.native import KERNELS, find_native, open_native
    from ecovision_edge_native import LIBRARY

    best = find_native().kernel
    for number, kernel in KERNELS.items():
        if kernel in {"neon", best}:
            native, rng = open_native(LIBRARY, number), np.random.default_rng(0)
            for h, w in ((480, 640), (256, 256), (1, 1), (3, 500), (300, 7), (97, 131)):
                image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
                out = np.empty((112, 96, 3), np.uint8)
                native.resize(image, Geometry(h, w, 112, 96, 0, 0, 112, 96), out)
                narrow = Image.fromarray(image).resize((96, h), Image.Resampling.BILINEAR)
                expected = narrow.resize((96, 112), Image.Resampling.BILINEAR)  # across, then down
                assert (out == np.asarray(expected)).all(), (kernel, h, w)
    print(best)
""")


@pytest.mark.parametrize(("cpu", "kernel"), [("cortex-a72", "neon"), ("cortex-a76", "dotprod")])
def test_the_native_filter_is_pillow_to_the_bit_on_a_pi(
    pi: PiRoot, native_wheel_arm64: Path, tmp_path: Path, cpu: str, kernel: str
) -> None:
    """By each kernel that the CPU runs; and the best of them is taken."""
    with zipfile.ZipFile(native_wheel_arm64) as archive:
        archive.extractall(tmp_path)
    done = pi.python(cpu, "-c", RESIZE, environment={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [kernel]


def test_preparing_takes_a_third_of_the_instructions_with_the_native_filter(
    pi: PiRoot, native_wheel_arm64: Path
) -> None:
    """Of a whole camera frame; the network's input has the same size."""
    model, *_ = find_models([])
    steps = [Step("prepare", 1920, 1080, native=native) for native in (None, native_wheel_arm64)]
    by_numpy, native = (count(pi, model, "cortex-a76", step=step).instructions for step in steps)
    assert native < 0.35 * by_numpy


def test_a_whole_program_is_counted_with_its_threads_and_its_start(pi: PiRoot, tmp_path: Path) -> None:
    """One thread of its own does as much as the first."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            import sys, threading
            work = lambda: sum(range(int(sys.argv[1]) * 100_000))
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            work()
        """)
    )
    counted = count_process(pi, "cortex-a72", [str(program), "{n}"], 10)
    assert counted.each > 100_000
    assert abs(counted.each / counted.each_first - 2) < 0.05
    assert counted.start > counted.each


@pytest.mark.parametrize(
    ("cpu", "features", "clips"),
    [
        ("Haswell", {"sse4_2", "avx", "avx2", "fma"}, True),
        ("SandyBridge", {"sse4_2", "avx"}, False),
        ("Nehalem", {"sse4_2"}, False),
    ],
)
def test_golden_vectors_pass_on_x86_without_vnni(cpu: str, features: set[str], clips: bool) -> None:
    """A Haswell clips sums: its wider tolerance holds, and the report says why. What has no AVX2 is exact."""
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or read_cpu().arch != "x86_64":
        pytest.skip("needs an x86-64 machine with qemu-user")
    # /proc/cpuinfo is the host's, so the emulated CPU is named here.
    code = textwrap.dedent(f"""
        from ecovision_edge import verify_bundle
        from ecovision_edge.bundle.folder import embedded_bundle_path
        from ecovision_edge.base.device import Cpu
        report = verify_bundle(embedded_bundle_path(), cpu=Cpu("x86_64", {cpu!r}, frozenset({features!r})))
        print(report.checks[-1].detail)
        raise SystemExit(not report.ok)
    """)
    interpreter = str(Path(sys.executable).resolve())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [qemu, "-cpu", cpu, interpreter, "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-1000:]
    assert ("this CPU has no VNNI" in done.stdout) is clips


def embedded_model() -> onnx.ModelProto:
    """The embedded int8 model, shapes inferred."""
    return onnx.shape_inference.infer_shapes(onnx.load(embedded_bundle_path() / "model.int8.onnx"))


def integer_part(frames: Sequence[np.ndarray]) -> tuple[onnx.ModelProto, Tensors]:
    """The embedded int8 model from its first quantized tensors on, and those tensors for the frames."""
    model = embedded_model()
    constants = {i.name for i in model.graph.initializer}
    integer: set[str] = set()  # tensors that depend on a quantized one
    cuts: list[str] = []
    for node in model.graph.node:
        data = [i for i in node.input if i not in constants]
        if (node.op_type == "DequantizeLinear" and data) or any(i in integer for i in data):
            integer.update(node.output)
        elif node.op_type == "QuantizeLinear" and data:
            cuts.append(node.output[0])
    assert cuts
    part = onnx.utils.Extractor(model).extract_model(cuts, ["logits"])
    known = {v.name: v for v in model.graph.value_info}
    model.graph.output.extend(known[c] for c in cuts)
    classifier = Classifier.load()
    batch = np.concatenate([classifier.prepare(frame) for frame in frames])
    tensors = onnx_session(model).run(cuts, {"frame": batch})
    return part, dict(zip(cuts, tensors, strict=True))


def elementwise_part() -> onnx.ModelProto:
    """Each quantized elementwise operator of the embedded int8 model, alone, on the inputs `a` and `b`."""
    model = embedded_model()
    constants = {i.name: i for i in model.graph.initializer}
    made_by = {o: n for n in model.graph.node for o in n.output}
    used_by = {i: n for n in model.graph.node for i in n.input}
    nodes: list[onnx.NodeProto] = []
    outputs: list[str] = []
    kept: set[str] = set()
    for node in model.graph.node:
        ends = [made_by.get(i) for i in node.input] + [used_by.get(node.output[0])]
        if node.op_type not in {"Add", "Mul"} or not all(
            end is not None and end.op_type.endswith("Linear") for end in ends
        ):
            continue
        name = f"{node.op_type}_{len(outputs)}"
        outputs.append(name)
        alone = onnx.NodeProto()
        alone.CopyFrom(node)
        alone.input[:] = [f"{name}_{x}" for x in "ab"[: len(node.input)]]
        alone.output[:] = [f"{name}_float"]
        *sources, sink = [end for end in ends if end is not None]
        for source, x in zip(sources, "ab", strict=True):
            what = source.input[0] if source.input[0] in constants else x  # the 3 of a hard-swish stays
            nodes.append(
                onnx.helper.make_node("DequantizeLinear", [what, *source.input[1:]], [f"{name}_{x}"])
            )
            kept.update({what} & constants.keys())
        nodes.append(alone)
        nodes.append(onnx.helper.make_node("QuantizeLinear", [f"{name}_float", *sink.input[1:]], [name]))
        kept.update(i for end in (*sources, sink) for i in end.input[1:])
    assert {name.partition("_")[0] for name in outputs} == {"Add", "Mul"}
    values = [
        onnx.helper.make_tensor_value_info(v, onnx.TensorProto.UINT8, [2**16]) for v in ("a", "b", *outputs)
    ]
    graph = onnx.helper.make_graph(
        nodes, "elementwise", values[:2], values[2:], [constants[name] for name in sorted(kept)]
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
