"""What the runtime's tests share: models of a few hundred bytes, and bundles made of them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.bundle.contract import METADATA_KEY, Contract, InputSpec, Normalization, WeightsSource
from ecovision_edge.bundle.golden import Golden
from ecovision_edge.bundle.manifest import ArtifactEntry, FileEntry, Manifest
from ecovision_edge.photographs import jpeg_picture
from ecovision_edge.photographs.images import Reduce, decode_image

SIDE = 8
LABELS = ("blue", "green", "red")


class Forge:
    """Makes tiny models and bundles.

    The network answers with the mean of each channel, divided by 16: what is blue is "blue".
    """

    labels = LABELS
    side = SIDE

    def contract(self, **changes: Any) -> Contract:
        """A contract for the tiny network; `dtype="float32"` gives the NCHW form."""
        if changes.pop("dtype", "uint8") == "float32":
            form = InputSpec("frame", "NCHW", "float32", "RGB", SIDE, SIDE)
            changes = {"input": form, "normalization": Normalization(in_graph=False), **changes}
        base = Contract(LABELS, WeightsSource("tiny", "test", "0" * 64), InputSpec(height=SIDE, width=SIDE))
        return dataclasses.replace(base, **changes)

    def proto(
        self,
        contract: Contract | None = None,
        *,
        batch: str | int = "batch",
        classes: int | None = None,
        metadata: Mapping[str, str] | None = None,
        extra_nodes: Sequence[onnx.NodeProto] = (),
    ) -> onnx.ModelProto:
        """The tiny network with `contract` in its metadata, unless `metadata` says otherwise."""
        contract = contract or self.contract()
        spec, k = contract.input, classes or len(contract.labels)
        shape = [batch, *spec.shape(1)[1:]]
        kind = TensorProto.UINT8 if spec.dtype == "uint8" else TensorProto.FLOAT
        axes = [1, 2] if spec.layout == "NHWC" else [2, 3]
        weight = np.zeros((3, k), np.float32)
        for i in range(min(3, k)):
            weight[i, i] = 1 / 16
        nodes = [
            helper.make_node("Cast", [spec.name], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels"], ["means"], axes=axes, keepdims=0),
            helper.make_node("MatMul", ["means", "weight"], [contract.output.name]),
            *extra_nodes,
        ]
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(spec.name, kind, shape)],
            [helper.make_tensor_value_info(contract.output.name, TensorProto.FLOAT, [batch, k])],
            [numpy_helper.from_array(weight, "weight")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        own = {METADATA_KEY: contract.dumps()}
        helper.set_model_props(model, own if metadata is None else dict(metadata))
        return model

    def model(self, contract: Contract | None = None, **options: Any) -> bytes:
        """The bytes of `proto`."""
        return self.proto(contract, **options).SerializeToString()

    def tflite_object(
        self,
        contract: Contract | None = None,
        *,
        classes: int | None = None,
        metadata: Mapping[str, str | bytes] | None = None,
        output: str = "float32",
        scale: float = 0.125,
        zero: int = 3,
    ) -> Any:
        """The tiny network as the object API of TFLite's schema has it; an integer `output` is quantized."""
        schema = pytest.importorskip(
            "ai_edge_litert.schema_py_generated", reason="needs LiteRT: pip install 'ecovision-edge[litert]'"
        )
        contract = contract or self.contract()
        spec, k = contract.input, classes or len(contract.labels)
        types, ops = schema.TensorType, schema.BuiltinOperator
        weight = np.eye(k, 3, dtype=np.float32) / 16
        axes = np.array([1, 2] if spec.layout == "NHWC" else [2, 3], np.int32)
        model, graph = schema.ModelT(), schema.SubGraphT()
        model.version = 3
        model.subgraphs = [graph]
        model.buffers, model.metadata, model.operatorCodes = [schema.BufferT()], [], []
        graph.tensors, graph.operators = [], []

        def buffer(data: bytes) -> int:
            made = schema.BufferT()
            made.data = np.frombuffer(data, np.uint8)
            model.buffers.append(made)
            return len(model.buffers) - 1

        def tensor(name: str, shape: Sequence[int], kind: int, data: bytes | None = None) -> int:
            made = schema.TensorT()
            made.name, made.shape, made.type = name, np.array(shape, np.int32), kind
            made.buffer = 0 if data is None else buffer(data)
            graph.tensors.append(made)
            return len(graph.tensors) - 1

        def operator(code: int, inputs: Sequence[int], output: int, options: str | None = None) -> Any:
            kind, op = schema.OperatorCodeT(), schema.OperatorT()
            kind.builtinCode, kind.deprecatedBuiltinCode, kind.version = code, min(code, 127), 1
            model.operatorCodes.append(kind)
            op.opcodeIndex = len(model.operatorCodes) - 1
            op.inputs, op.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
            if options is not None:
                op.builtinOptionsType = getattr(schema.BuiltinOptions, options)
                op.builtinOptions = getattr(schema, f"{options}T")()
            graph.operators.append(op)
            return op.builtinOptions

        kind = types.UINT8 if spec.dtype == "uint8" else types.FLOAT32
        last = given = tensor("serving_default_" + spec.name, spec.shape(1), kind)
        if spec.dtype == "uint8":
            last = tensor("pixels", spec.shape(1), types.FLOAT32)
            operator(ops.CAST, [given], last, "CastOptions")
        means = tensor("means", [1, 3], types.FLOAT32)
        operator(ops.MEAN, [last, tensor("axes", [2], types.INT32, axes.tobytes())], means, "ReducerOptions")
        logits = tensor(contract.output.name, [1, k], types.FLOAT32)
        weights = tensor("weight", [k, 3], types.FLOAT32, weight.tobytes())
        operator(ops.FULLY_CONNECTED, [means, weights, -1], logits, "FullyConnectedOptions")
        if output != "float32":
            quantized = tensor("quantized", [1, k], getattr(types, output.upper()))
            form = graph.tensors[quantized].quantization = schema.QuantizationParametersT()
            form.scale, form.zeroPoint = np.array([scale], np.float32), np.array([zero], np.int64)
            operator(ops.QUANTIZE, [logits], quantized, "QuantizeOptions")
            logits = quantized
        graph.inputs, graph.outputs = np.array([given], np.int32), np.array([logits], np.int32)
        own = {METADATA_KEY: contract.dumps()} if metadata is None else metadata
        for name, text in own.items():
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, buffer(text.encode() if isinstance(text, str) else text)
            model.metadata.append(entry)
        return model

    def pack(self, model: Any) -> bytes:
        """The bytes of what `tflite_object` made."""
        flatbuffers = pytest.importorskip("flatbuffers", reason="needs flatbuffers: LiteRT's own dependency")
        builder = flatbuffers.Builder(1024)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def tflite(self, contract: Contract | None = None, **options: Any) -> bytes:
        """The bytes of a `.tflite` file of the tiny network, as `tflite_object` says."""
        return self.pack(self.tflite_object(contract, **options))

    def entry(self, name: str, data: bytes) -> FileEntry:
        """The manifest's words about a file of these bytes."""
        return FileEntry(name, hashlib.sha256(data).hexdigest(), len(data))

    def bundle(
        self,
        folder: Path,
        contract: Contract | None = None,
        *,
        precisions: Sequence[str] = ("fp32", "int8"),
        models: Mapping[str, bytes] | None = None,
        golden: bytes | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> Path:
        """A valid bundle in the new folder `folder`; "int8" is the same tiny graph as "fp32".

        Of `precisions` and `models`, "int8" means "int8-onnx"; there is "int8-tflite" too.
        """
        contract = contract or self.contract()
        make = {"onnx": self.model, "tflite": self.tflite}
        names = {p: p if "-" in p else f"{p}-onnx" for p in models or precisions}
        files = {n: models[p] if models else make[n.split("-")[1]](contract) for p, n in names.items()}
        if golden is None:
            golden = self.golden(contract, files).dumps()
        folder.mkdir(parents=True)
        artifacts = []
        for name, data in files.items():
            precision, format = name.split("-")
            file, opset = f"model.{precision}.{format}", 17 if format == "onnx" else None
            (folder / file).write_bytes(data)
            artifacts.append(ArtifactEntry(self.entry(file, data), format, precision, 1e-3, opset))
        (folder / "golden.npz").write_bytes(golden)
        vectors = self.entry("golden.npz", golden)
        manifest = Manifest("tiny", contract, tuple(artifacts), vectors, dict(provenance or {"by": "test"}))
        (folder / "bundle.json").write_bytes(manifest.dumps())
        return folder

    def golden(self, contract: Contract, models: Mapping[str, bytes]) -> Golden:
        """Golden vectors of three inputs, by running the models."""
        rng = np.random.default_rng(7)
        shape = contract.input.shape(3)
        if contract.input.dtype == "uint8":
            inputs = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            inputs = rng.normal(size=shape).astype(np.float32)
        run = {
            name: open_model(data, name.split("-")[1], BackendOptions(1)).run(inputs)
            for name, data in models.items()
        }
        return Golden(inputs, run)

    def read(self, folder: Path) -> dict[str, Any]:
        """`bundle.json` as plain values."""
        return json.loads((folder / "bundle.json").read_bytes())

    def edit(self, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
        """Let `change` alter `bundle.json` in place."""
        data = self.read(folder)
        change(data)
        (folder / "bundle.json").write_text(json.dumps(data))
        return folder

    def put(self, folder: Path, name: str, data: bytes) -> Path:
        """Replace a file of the bundle, and let the manifest name the new bytes."""
        (folder / name).write_bytes(data)
        entry = self.entry(name, data)

        def rename(manifest: dict[str, Any]) -> None:
            for part in (*manifest["artifacts"], manifest["golden"]):
                if part["file"] == name:
                    part.update(sha256=entry.sha256, bytes=entry.bytes)

        return self.edit(folder, rename)


@pytest.fixture(scope="session")
def forge() -> Forge:
    """The maker of tiny models and bundles."""
    return Forge()


@pytest.fixture
def bundle(forge: Forge, tmp_path: Path) -> Path:
    """The folder of a valid tiny bundle with an fp32 and an int8 artifact."""
    return forge.bundle(tmp_path / "bundle")


@pytest.fixture(scope="session")
def pristine(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid tiny bundle that nobody changes."""
    return forge.bundle(tmp_path_factory.mktemp("pristine") / "bundle")


@pytest.fixture(scope="session")
def both(forge: Forge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid tiny bundle of four artifacts, ONNX and TFLite, that nobody changes."""
    names = [f"{precision}-{format}" for format in ("onnx", "tflite") for precision in ("fp32", "int8")]
    return forge.bundle(tmp_path_factory.mktemp("both") / "bundle", precisions=names)


@pytest.fixture(scope="session")
def photographs() -> list[Path]:
    """A few photographs, one per class; skips where there are none."""
    root = Path(os.environ.get("ECOVISION_DATA") or Path(__file__).parents[3] / "shared/data/garbage-v2")
    folders = sorted(p for p in (root / "val").glob("*") if p.is_dir())
    found = [next(iter(sorted(p for p in f.iterdir() if p.suffix.lower() == ".jpg")), None) for f in folders]
    photos = [p for p in found if p is not None]
    if not photos:
        pytest.skip(f"no photographs at {root}/val: set ECOVISION_DATA to a folder with val/CLASS/*.jpg")
    return photos


@pytest.fixture(scope="session")
def python() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run this Python with arguments in a new process."""

    def run(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
        options = {"capture_output": True, "timeout": 120, **options}
        return subprocess.run([sys.executable, *map(str, arguments)], check=False, **options)

    return run


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many times smaller each JPEG picture was decoded, one after the other."""
    found: list[int] = []

    def decode(data: bytes, name: str, reduce: Reduce) -> Any:
        found.append(reduce(0, 0))
        return decode_image(data, name, reduce)

    monkeypatch.setattr(jpeg_picture, "decode_image", decode)
    return found
