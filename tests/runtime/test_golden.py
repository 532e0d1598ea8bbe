"""Facts about the golden vectors."""

import io
import pickle
import struct
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle import golden as module
from ecovision_edge.bundle.contract import Contract, InputSpec, Normalization, WeightsSource
from ecovision_edge.bundle.golden import Golden
from ecovision_edge.errors import ContractError

CONTRACT = Contract(("a", "b"), WeightsSource("tiny", "test", "0" * 64), InputSpec(height=4, width=5))
INPUTS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
LOGITS = np.array([[1, -2], [0.5, 3]], np.float32)
GOOD = Golden(INPUTS, {"int8-onnx": LOGITS, "fp32-onnx": LOGITS + 1})


class Bomb:
    """Unpickling it leaves a trace."""

    exploded = False

    def __reduce__(self):
        return setattr, (Bomb, "exploded", True)


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def archive(files, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", compression) as z:
        warnings.simplefilter("ignore")  # zipfile warns of names that are there twice
        for name, data in files:
            z.writestr(name, data)
    return buffer.getvalue()


def npz(inputs=INPUTS, logits=LOGITS, **others):
    arrays = {"inputs": inputs, "logits/int8-onnx": logits, **others}
    return archive([(f"{name}.npy", npy(array)) for name, array in arrays.items() if array is not None])


def header(descr="|u1", shape="(2, 4, 5, 3)", order="False"):
    """The header of a .npy file with any text in it."""
    text = f"{{'descr': {descr!r}, 'fortran_order': {order}, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_vectors_come_back_as_they_were_written():
    """Inputs and the logits of every artifact, bit by bit."""
    back = Golden.loads(GOOD.dumps(), CONTRACT)
    assert np.array_equal(back.inputs, INPUTS)
    assert back.inputs.dtype == np.uint8
    assert set(back.logits) == {"int8-onnx", "fp32-onnx"}
    for name, logits in GOOD.logits.items():
        assert np.array_equal(back.logits[name], logits)
        assert back.logits[name].dtype == np.float32


def test_the_bytes_are_the_same_each_time():
    """No clock, no order of insertion."""
    other = Golden(INPUTS.copy(), dict(reversed(GOOD.logits.items())))
    assert GOOD.dumps() == other.dumps()


def test_numpy_reads_the_file_without_us():
    """It is a plain .npz."""
    with np.load(io.BytesIO(GOOD.dumps()), allow_pickle=False) as arrays:
        assert np.array_equal(arrays["inputs"], INPUTS)
        assert np.array_equal(arrays["logits/int8-onnx"], LOGITS)


def test_float_inputs_are_taken_where_the_contract_says_so():
    """NCHW float32."""
    form = InputSpec("frame", "NCHW", "float32", "RGB", 4, 5)
    contract = Contract(("a", "b"), CONTRACT.weights, form, normalization=Normalization(in_graph=False))
    inputs = np.linspace(-2, 2, 120, dtype=np.float32).reshape(2, 3, 4, 5)
    assert np.array_equal(Golden.loads(Golden(inputs, {"x": LOGITS}).dumps(), contract).inputs, inputs)
    with pytest.raises(ContractError):
        Golden.loads(GOOD.dumps(), contract)


def pickled(array):
    """A .npy with a pickle in it that is as long as its header says."""
    content = pickle.dumps(array)
    content += bytes(-len(content) % 8)  # what follows a pickle's end is not read
    return archive([("inputs.npy", header(descr="|O", shape=f"({len(content) // 8},)") + content)])


WRONG = {
    "a pickled array of the right length": pickled(np.array([Bomb()], object)),
    "no inputs": npz(inputs=None),
    "no vectors": npz(inputs=INPUTS[:0], logits=LOGITS[:0]),
    "inputs of three dimensions": npz(inputs=INPUTS[0]),
    "inputs of another size": npz(inputs=INPUTS[:, :3]),
    "inputs of another dtype": npz(inputs=INPUTS.astype(np.int8)),
    "too few logits": npz(logits=LOGITS[:1]),
    "too many classes": npz(logits=np.zeros((2, 3), np.float32)),
    "float64 logits": npz(logits=LOGITS.astype(np.float64)),
    "big-endian logits": npz(logits=LOGITS.astype(">f4")),
    "NaN": npz(logits=np.array([[1, np.nan], [0, 0]], np.float32)),
    "infinity": npz(logits=np.array([[1, np.inf], [0, 0]], np.float32)),
    "another name": npz(other=LOGITS),
    "a hostile name": npz(**{"\x1b[2J/../x": LOGITS}),
    "a structured dtype": npz(logits=np.zeros(2, [("a", "f4"), ("b", "f4")])),
    "a pickled array": npz(logits=np.array([Bomb(), Bomb()], object)),
    "a bare pickle": archive([("inputs.npy", pickle.dumps(Bomb()))]),
    "no zip": b"PK\x03\x04 no zip",
    "nothing": b"",
    "an empty zip": archive([]),
    "an empty file": archive([("inputs.npy", b"")]),
    "compressed": archive([("inputs.npy", npy(INPUTS))], zipfile.ZIP_DEFLATED),
    "a zip bomb": archive([("inputs.npy", b"\0" * 2**24)], zipfile.ZIP_DEFLATED),
    "a bzip2 bomb": archive([("inputs.npy", b"\0" * 2**24)], zipfile.ZIP_BZIP2),
    "an lzma bomb": archive([("inputs.npy", b"\0" * 2**24)], zipfile.ZIP_LZMA),
    "a header of terabytes": archive([("inputs.npy", header(shape=f"({2**20}, {2**20}, 1, 3)"))]),
    "a header beyond any integer": archive([("inputs.npy", header(shape=f"({10**40}, 0, 1, 1)"))]),
    "a negative shape": archive([("inputs.npy", header(shape="(-2, -4, 5, 3)") + bytes(120))]),
    "a shape of text": archive([("inputs.npy", header(shape="'x'") + bytes(120))]),
    "an unknown dtype": archive([("inputs.npy", header(descr="<q99") + bytes(120))]),
    "an object dtype": archive([("inputs.npy", header(descr="|O") + bytes(960))]),
    "a dtype of no bytes": archive([("inputs.npy", header(descr="|V0", shape=f"({2**40}, 4, 5, 3)"))]),
    "code in the header": archive([("inputs.npy", header(shape="__import__('os').getpid()") + bytes(120))]),
    "a header too short": archive([("inputs.npy", header()[:50])]),
    "fewer bytes than it says": archive([("inputs.npy", header() + bytes(119))]),
    "more bytes than it says": archive([("inputs.npy", header() + bytes(121))]),
    "header version 9": archive([("inputs.npy", b"\x93NUMPY\x09\x00" + header()[8:] + bytes(120))]),
    "a nested header": archive([("inputs.npy", header(shape="(" * 1000) + bytes(120))]),
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG.keys())
def test_what_are_no_golden_vectors_is_refused(data):
    """A ContractError, before anything large is allocated and without unpickling anything."""
    with pytest.raises(ContractError):
        Golden.loads(data, CONTRACT)
    assert not Bomb.exploded


def test_an_array_beyond_the_limit_is_refused_unread(monkeypatch):
    """The limit holds for what the archive says it will become."""
    monkeypatch.setattr(module, "MAX_GOLDEN_BYTES", 200)
    with pytest.raises(ContractError, match="at most 200 bytes"):
        Golden.loads(GOOD.dumps(), CONTRACT)


def test_an_array_that_is_there_twice_is_refused():
    """Else one array of megabytes, named a hundred thousand times, keeps a device busy for hours."""
    data = archive([("inputs.npy", npy(INPUTS)), ("inputs.npy", npy(INPUTS)), ("logits/x.npy", npy(LOGITS))])
    with pytest.raises(ContractError):
        Golden.loads(data, CONTRACT)


@given(
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=4),
    st.floats(0, 1) | st.just(1.0),
)
def test_damaged_vectors_are_read_or_refused(changes, kept):
    """Altered and cut off at random: vectors of the contract's shapes, or a ContractError."""
    data = bytearray(GOOD.dumps())
    for where, value in changes:
        data[int(where * len(data))] = value
    try:
        back = Golden.loads(bytes(data[: int(kept * len(data))]), CONTRACT)
    except ContractError:
        return
    assert back.inputs.shape == CONTRACT.input.shape(len(back.inputs))
    assert all(v.shape == (len(back.inputs), 2) and np.isfinite(v).all() for v in back.logits.values())


def test_a_refusal_is_short_whatever_the_file_holds():
    """A message is for a person, or one line of a log."""
    data = bytearray(GOOD.dumps())
    data[26:28] = struct.pack("<H", 500)  # the length of the first file's name
    with pytest.raises(ContractError) as caught:
        Golden.loads(bytes(data), CONTRACT)
    assert len(caught.value.message) < 500
