"""Facts that hold of both engines behind the Backend protocol: what runs, and what is refused."""

import json
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ecovision_edge.backends import BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.bundle.contract import METADATA_KEY, OutputSpec
from ecovision_edge.errors import (
    ContractError,
    InferenceError,
    MissingContractError,
    ModelError,
    SchemaVersionError,
)

RED = np.zeros((1, 8, 8, 3), np.uint8) + np.array([0, 0, 160], np.uint8)


class Engine:
    """One of the two: makes the tiny network in its format, and opens it."""

    def __init__(self, forge, format):
        self.format = format
        self.model = {"onnx": forge.model, "tflite": forge.tflite}[format]

    def open(self, contract=None, *, threads=1, **options):
        return open_model(self.model(contract, **options), self.format, BackendOptions(threads))


@pytest.fixture(params=["onnx", "tflite"])
def engine(request, forge):
    if request.param == "tflite":
        pytest.importorskip("ai_edge_litert", reason="needs LiteRT: pip install 'ecovision-edge[litert]'")
    return Engine(forge, request.param)


@pytest.fixture
def backend(engine):
    return engine.open()


def test_a_model_runs(engine, backend, forge):
    """The mean of each channel over 16, as the tiny network is drawn."""
    assert backend.contract == forge.contract()
    logits = backend.run(RED)
    assert logits.dtype == np.float32
    assert logits.tolist() == [[0, 0, 10]]
    assert backend.engine.startswith({"onnx": "onnxruntime ", "tflite": "ai-edge-litert 2"}[engine.format])
    assert backend.threads == 1


def test_a_float_model_runs(engine, forge):
    """NCHW float32, as its contract says."""
    batch = np.zeros((2, 3, 8, 8), np.float32)
    batch[1, 2] = 32
    backend = engine.open(forge.contract(dtype="float32"), threads=None)
    assert backend.run(batch).tolist() == [[0, 0, 0], [0, 0, 2]]


def test_probabilities_of_the_network_stay_as_they_are(engine, forge):
    """The backend gives what the network gives."""
    contract = forge.contract(output=OutputSpec("p", "probabilities"))
    assert engine.open(contract).run(RED).tolist() == [[0, 0, 10]]


def test_a_batch_gives_what_its_frames_give(backend):
    """Row by row; strides do not matter; an empty one gives no rows."""
    batch = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    alone = np.concatenate([backend.run(batch[i : i + 1]) for i in range(5)])
    assert np.array_equal(backend.run(batch), alone)
    assert np.array_equal(backend.run(np.asfortranarray(batch)), alone)
    assert np.array_equal(backend.run(batch[::-1]), alone[::-1])
    assert np.array_equal(backend.run(batch[:, ::-1, ::-1]), backend.run(batch[:, ::-1, ::-1].copy()))
    assert backend.run(batch[:0]).shape == (0, 3)


def test_results_and_inputs_are_nobody_elses(backend):
    """What was returned stays as it was, and may be written to; the input may be, too."""
    frame = RED.copy()
    first = backend.run(frame)
    frame[:] = 0
    second = backend.run(frame)
    assert (first.tolist(), second.tolist()) == ([[0, 0, 10]], [[0, 0, 0]])
    first[:] = 7
    assert backend.run(RED).tolist() == [[0, 0, 10]]


def test_several_threads_may_run_at_once(backend):
    """One session or interpreter, many callers: each gets its own frame's answer."""
    batches = [np.full((1, 8, 8, 3), i % 256, np.uint8) for i in range(512)]
    with ThreadPoolExecutor(8) as pool:
        assert [r[0, 0] * 16 for r in pool.map(backend.run, batches)] == [i % 256 for i in range(512)]


@pytest.mark.parametrize(
    "batch",
    [
        *[np.zeros((1, 8, 8, 3), np.float32), np.zeros((1, 8, 8, 3), np.int8), np.zeros((8, 8, 3), np.uint8)],
        *[np.zeros((1, 3, 8, 8), np.uint8), np.zeros((1, 9, 8, 3), np.uint8), np.zeros((8,), np.uint8)],
        np.zeros((), np.uint8),
    ],
    ids=lambda b: f"{b.dtype}{b.shape}",
)
def test_a_wrong_input_is_refused(backend, batch):
    """Before the engine sees it: what was expected, what was found."""
    with pytest.raises(InferenceError, match=r"expected \(.*, 8, 8, 3\) uint8, found"):
        backend.run(batch)


def test_a_model_without_a_contract_is_refused(engine):
    """It says what metadata there is instead, and what to do."""
    with pytest.raises(MissingContractError, match="found author; export it with"):
        engine.open(metadata={"author": "me"})
    with pytest.raises(MissingContractError, match="no metadata"):
        engine.open(metadata={})


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", "{" * 10**5])
def test_a_model_with_a_broken_contract_is_refused(engine, text):
    """As `Contract.loads` refuses it."""
    with pytest.raises(ContractError):
        engine.open(metadata={METADATA_KEY: text})


def test_a_model_of_a_newer_schema_is_refused(engine, forge):
    """With its own error."""
    newer = {**forge.contract().to_json(), "schema_version": 3}
    with pytest.raises(SchemaVersionError):
        engine.open(metadata={METADATA_KEY: json.dumps(newer)})


def test_labels_unlike_the_output_are_refused(engine):
    """Three labels on four outputs."""
    found = {"onnx": "", "tflite": r", found float32 \(1, 4\)"}[engine.format]
    with pytest.raises(ModelError, match=rf"labels do not fit.*3 labels{found}"):
        engine.open(classes=4)


def test_a_model_of_the_other_format_is_refused(forge, engine):
    """By what the file is, not by its name."""
    other, name = {"onnx": (forge.tflite, "an ONNX"), "tflite": (forge.model, "a TFLite")}[engine.format]
    with pytest.raises(ModelError, match=f"not {name} model"):
        open_model(other(), engine.format)


FUZZ = """
    import collections, json, random, sys
    import numpy as np
    from ecovision_edge.backends import BackendOptions
    from ecovision_edge.backends.engines import open_model
    from ecovision_edge.errors import EcovisionError

    model = open(sys.argv[1], "rb").read()
    counts = collections.Counter()
    for seed in range(1000):
        r, data = random.Random(seed), bytearray(model)
        kind = r.randrange(5)
        for _ in range(r.choice([1, 1, 2, 5])):
            at = r.randrange(len(data))
            if kind <= 1:
                data[at] ^= 1 << r.randrange(8)
            elif kind == 2:
                data[at] = r.choice([0, 0x7F, 0x80, 0xFF, r.randrange(256)])
            elif kind == 3:
                del data[at : at + r.randrange(1, 40)]
            else:
                data[at:at] = data[r.randrange(len(data)) :][: r.randrange(40)]
            if not data:
                break
        try:
            backend = open_model(bytes(data), sys.argv[2], BackendOptions(threads=1))
            form = backend.contract.input
            logits = backend.run(np.zeros(form.shape(1), form.dtype))
            assert logits.shape == (1, len(backend.contract.labels))
            counts["good"] += 1
        except EcovisionError as e:
            counts[type(e).__name__] += 1
    print(json.dumps(counts))
"""


@pytest.mark.slow
def test_damaged_models_run_or_are_refused(engine, tmp_path, python):
    """1,000 alterations in one process that survives them all (LiteRT alone dies of many)."""
    options = {"onnx": {}, "tflite": {"output": "int8"}}[engine.format]
    (tmp_path / "model").write_bytes(engine.model(**options))
    ran = python("-c", textwrap.dedent(FUZZ), tmp_path / "model", engine.format)
    assert ran.returncode == 0, ran.stderr.decode()[-2000:]
    counts = json.loads(ran.stdout.splitlines()[-1])
    assert sum(counts.values()) == 1000
    assert counts["good"] > 10
    assert counts["ModelError"] > 100
    assert counts["ContractError"] > 10
