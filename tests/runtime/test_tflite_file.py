"""Facts about the reader of TFLite files: it finds the metadata, and survives whatever else it is given."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.contract import METADATA_KEY, Contract
from ecovision_edge.errors import ModelError
from ecovision_edge.modelfile.tflite import read_metadata

schema = pytest.importorskip(
    "ai_edge_litert.schema_py_generated", reason="needs LiteRT: pip install 'ecovision-edge[litert]'"
)


@pytest.fixture(scope="module")
def model(forge):
    return forge.tflite(output="int8")


def altered(forge, change):
    model = forge.tflite_object(output="int8")
    change(model)
    return forge.pack(model)


def test_the_metadata_is_found(forge, model):
    """Name to content."""
    found = read_metadata(model)
    assert list(found) == [METADATA_KEY]
    assert Contract.loads(found[METADATA_KEY].decode()) == forge.contract()
    assert read_metadata(forge.tflite(metadata={"a": "1", "b": b"\xff"})) == {"a": b"1", "b": b"\xff"}
    assert read_metadata(forge.tflite(metadata={})) == {}


def test_metadata_behind_the_flatbuffer_is_found(forge):
    """Large models have their buffers there, by offset and size."""
    filler = altered(forge, lambda m: behind(m, 1, 1))
    data = altered(forge, lambda m: behind(m, len(filler), 3)) + b"abc"
    assert read_metadata(data) == {METADATA_KEY: b"abc"}
    with pytest.raises(ModelError, match=r"other files.*found a buffer that ends"):
        read_metadata(data[:-1])


def behind(model, offset, size):
    buffer = model.buffers[model.metadata[0].buffer]
    buffer.data, buffer.offset, buffer.size = None, offset, size


def external_group(model):
    group = schema.ExternalBufferGroupT()
    group.name = "weights.bin"
    model.externalBufferGroups = [group]


def external_buffer(model):
    model.externalBuffers = [schema.ExternalBufferT()]


def external_tensor(model):
    model.subgraphs[0].tensors[5].externalBuffer = 1


@pytest.mark.parametrize("place", [external_group, external_buffer, external_tensor])
def test_tensors_in_other_files_are_refused(forge, place):
    """Such a model could name any file of the device, and what it names was not hashed."""
    with pytest.raises(ModelError, match="the model keeps tensors in other files"):
        read_metadata(altered(forge, place))


def quantized(tensor, scale, zero):
    def change(model):
        form = model.subgraphs[0].tensors[tensor].quantization = schema.QuantizationParametersT()
        form.scale, form.zeroPoint = np.array([1, scale], np.float32), np.array([0, zero], np.int64)

    return change


@pytest.mark.parametrize(
    ("scale", "zero"), [(np.nan, 0), (np.inf, 0), (-1, 0), (1, 128), (1, -129), (1, 2**40)]
)
def test_numbers_that_kernels_cannot_compute_with_are_refused(forge, scale, zero):
    """LiteRT aborts over them."""
    with pytest.raises(ModelError, match=r"a scale that is negative|a zero point that is no int8"):
        read_metadata(altered(forge, quantized(6, scale, zero)))
    assert read_metadata(altered(forge, quantized(6, 0.5, -128)))


def twice(model):
    model.metadata = [*model.metadata, *model.metadata]


def far(model):
    model.metadata[0].buffer = 99


@pytest.mark.parametrize(("change", "found"), [(twice, "twice"), (far, "in buffer 99 of 4")])
def test_metadata_that_does_not_add_up_is_refused(forge, change, found):
    """A name that is there twice, a buffer that is not there."""
    with pytest.raises(ModelError, match=found):
        read_metadata(altered(forge, change))


@pytest.mark.parametrize(
    "data",
    [
        *[
            b"",
            b"x",
            b"\0" * 100,
            b"\xff" * 100,
            b"PK\x03\x04",
            b"<html>404</html>",
            b"\x1c\0\0\0TFL2" + b"\0" * 99,
        ],
        b"version https://git-lfs.github.com/spec/v1\n",
    ],
)
def test_bytes_of_another_kind_are_refused(data):
    """By the identifier at byte 4."""
    with pytest.raises(ModelError, match=r"not a TFLite model: expected .*, TFL3 at byte 4"):
        read_metadata(data)


def test_every_truncation_is_refused(model):
    """The root stands in front, the tables at the end: whatever is cut off is missed."""
    for size in range(len(model)):
        with pytest.raises(ModelError):
            read_metadata(model[:size])


@given(st.data())
def test_damage_is_refused_or_harmless(model, data):
    """Metadata, or a ModelError: never another exception, never a read outside the file."""
    damaged = bytearray(model)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(model) - 1))
        if data.draw(st.booleans()):
            damaged[at] = data.draw(st.integers(0, 255))
        else:
            word = data.draw(st.sampled_from([0, 1, 4, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]))
            struct.pack_into("<I", damaged, min(at, len(model) - 4) & ~3, word)
    try:
        found = read_metadata(bytes(damaged))
    except ModelError:
        return
    assert all(isinstance(k, str) and isinstance(v, bytes) for k, v in found.items())


@given(st.binary(max_size=300))
def test_noise_is_refused(noise):
    """Behind the right identifier."""
    with pytest.raises(ModelError):
        read_metadata(noise[:4].ljust(4, b"\0") + b"TFL3" + noise[4:])


@pytest.mark.slow
def test_tables_that_are_shared_do_not_take_forever():
    """1,000 subgraphs of 1,000 tensors in 8 kB, for all are one: it is given up after so many steps."""
    builder = pytest.importorskip(
        "flatbuffers", reason="needs flatbuffers: LiteRT's own dependency"
    ).Builder()

    def many(table):
        builder.StartVector(4, 1000, 4)
        for _ in range(1000):
            builder.PrependUOffsetTRelative(table)
        return builder.EndVector()

    schema.TensorStart(builder)
    tensors = many(schema.TensorEnd(builder))
    schema.SubGraphStart(builder)
    schema.SubGraphAddTensors(builder, tensors)
    graphs = many(schema.SubGraphEnd(builder))
    schema.ModelStart(builder)
    schema.ModelAddSubgraphs(builder, graphs)
    builder.Finish(schema.ModelEnd(builder), b"TFL3")
    data = bytes(builder.Output())
    assert len(data) < 10_000
    with pytest.raises(ModelError, match="more than 500000 tables"):
        read_metadata(data)
