"""Facts about the manifest, `bundle.json`."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.bundle.contract import SCHEMA_VERSION as CONTRACT_VERSION
from ecovision_edge.bundle.contract import Contract, WeightsSource
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES, SCHEMA_VERSION, ArtifactEntry, FileEntry, Manifest
from ecovision_edge.errors import ContractError, SchemaVersionError, UnsafePathError

CONTRACT = Contract(("a", "b"), WeightsSource("tiny", "test", "0" * 64))
SHA = "ab" * 32
FP32 = ArtifactEntry(FileEntry("m.fp32.onnx", SHA, 10), "onnx", "fp32", 1e-3, 17, {"x": 1}, {"ok": True})
INT8 = ArtifactEntry(FileEntry("m.int8.onnx", SHA, 10), "onnx", "int8", 0.1)
GOLDEN = FileEntry("golden.npz", SHA, 10)
GOOD = Manifest("tiny", CONTRACT, (FP32, INT8), GOLDEN, {"by": ["test", {"deep": None}]})

HOSTILE_NAMES = [
    *["..", ".", "", "/", "../x", "a/../../x", "/etc/passwd", "a/b", "./x", "x/"],
    *["..\\x", "C:\\x", "C:x", "\\\\host\\share", "a\0b", "a\nb", "\x1b[2J", "\ud800", "\u202e", "a:stream"],
]


def edited(change):
    data = json.loads(GOOD.dumps())
    change(data)
    return json.dumps(data).encode()


def test_a_manifest_comes_back_as_it_was_written():
    """`loads(dumps(m)) == m`, and the bytes are the same each time."""
    assert Manifest.loads(GOOD.dumps()) == GOOD
    assert Manifest.loads(GOOD.dumps()).dumps() == GOOD.dumps()


def test_the_bytes_are_utf8_and_end_with_a_newline():
    """Readable in an editor: indented, labels as themselves."""
    manifest = dataclasses.replace(GOOD, contract=dataclasses.replace(CONTRACT, labels=("Bücher", "纸")))
    text = manifest.dumps().decode()
    assert "纸" in text
    assert text.endswith("}\n")
    assert Manifest.loads(manifest.dumps()) == manifest


def test_an_artifact_is_named_by_precision_and_format():
    """`int8-onnx`."""
    assert (FP32.name, INT8.name) == ("fp32-onnx", "int8-onnx")


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
def test_a_name_that_leaves_the_folder_cannot_be_made(name):
    """Not even in Python."""
    with pytest.raises(UnsafePathError) as caught:
        FileEntry(name, SHA, 1)
    assert isinstance(caught.value, ValueError)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=ascii)
@pytest.mark.parametrize("place", ["artifact", "golden"])
def test_a_name_that_leaves_the_folder_is_refused(name, place):
    """In `bundle.json`, for a model as for the golden vectors."""

    def change(data):
        (data["artifacts"][0] if place == "artifact" else data["golden"])["file"] = name

    with pytest.raises((UnsafePathError, ContractError)):
        Manifest.loads(edited(change))


@given(st.text(max_size=20))
def test_a_name_is_plain_or_refused(name):
    """What is let through has no separator and is no dots."""
    try:
        entry = FileEntry(name, SHA, 1)
    except UnsafePathError:
        return
    assert entry.file == name
    assert not set(name) & set("/\\:\0\n")
    assert name not in {"", ".", ".."}


def test_ordinary_names_are_taken():
    """Dots, spaces and letters of any alphabet are nothing bad."""
    for name in ("a", "model.int8.onnx", "..a", "a b", "…", "модель.onnx", ".hidden"):
        assert FileEntry(name, SHA, 1).file == name


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(kind="other"),
        lambda d: d.pop("kind"),
        lambda d: d.update(schema_version=0),
        lambda d: d.update(unknown=1),
        lambda d: d.update(name=""),
        lambda d: d.update(name="x" * 201),
        lambda d: d.update(artifacts=[]),
        lambda d: d.update(artifacts=None),
        lambda d: d.update(artifacts={}),
        lambda d: d.update(artifacts=d["artifacts"] * 17),
        lambda d: d.update(artifacts=[d["artifacts"][0]] * 2),
        lambda d: d.update(artifacts=[[]]),
        lambda d: d["artifacts"][0].update(name="int8-onnx"),
        lambda d: d["artifacts"][0].update(format="exe"),
        lambda d: d["artifacts"][0].update(precision="fp16"),
        lambda d: d["artifacts"][0].update(opset=0),
        lambda d: d["artifacts"][0].update(opset="17"),
        lambda d: d["artifacts"][0].update(recipe=[]),
        lambda d: d["artifacts"][0].update(parity=None),
        lambda d: d["artifacts"][0].update(unknown=1),
        lambda d: d["artifacts"][0].update(golden_tolerance=-1),
        lambda d: d["artifacts"][0].update(golden_tolerance="1"),
        lambda d: d["artifacts"][0].pop("golden_tolerance"),
        lambda d: d["artifacts"][1].update(file="m.fp32.onnx"),
        lambda d: d["golden"].update(file="m.fp32.onnx"),
        lambda d: d["golden"].update(bytes=0),
        lambda d: d["golden"].update(bytes=-5),
        lambda d: d["golden"].update(bytes=MAX_FILE_BYTES + 1),
        lambda d: d["golden"].update(bytes=10**400),
        lambda d: d["golden"].update(bytes=1.0),
        lambda d: d["golden"].update(bytes=True),
        lambda d: d["golden"].update(sha256="AB" * 32),
        lambda d: d["golden"].update(sha256="ab" * 31),
        lambda d: d["golden"].update(unknown=1),
        lambda d: d.pop("golden"),
        lambda d: d.pop("contract"),
        lambda d: d["contract"].pop("labels"),
        lambda d: d.update(provenance=[]),
    ],
)
def test_json_that_is_not_a_manifest_is_refused(change):
    """Wrong types, missing and unknown keys, names and files that are there twice."""
    with pytest.raises(ContractError):
        Manifest.loads(edited(change))


def test_a_newer_schema_is_its_own_error():
    """Of the manifest, as of the contract in it."""
    with pytest.raises(SchemaVersionError, match="upgrade"):
        Manifest.loads(edited(lambda d: d.update(schema_version=SCHEMA_VERSION + 1)))
    with pytest.raises(SchemaVersionError, match="upgrade"):
        Manifest.loads(edited(lambda d: d["contract"].update(schema_version=CONTRACT_VERSION + 1)))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe{\0}\0",
        b"\xef\xbb\xbf{}",
        b"{}",
        b"[]",
        b"\0" * 100,
        GOOD.dumps()[:-3],
        GOOD.dumps() * 2,
    ],
)
def test_bytes_that_are_no_manifest_are_refused(data):
    """Empty, of another encoding, cut off, or two of them."""
    with pytest.raises(ContractError):
        Manifest.loads(data)


@pytest.mark.parametrize("value", ["1e999", "-1e999", '"\\ud800"', '{"\\ud800": 1}'])
def test_what_was_read_can_be_written_again(value):
    """Provenance may be anything, but JSON: a manifest that is read can be dumped."""
    data = GOOD.dumps().replace(b'"deep": null', b'"deep": ' + value.encode())
    assert value.encode() in data
    try:
        manifest = Manifest.loads(data)
    except ContractError:
        return
    manifest.dumps()


def test_a_byte_order_mark_is_passed_over():
    """As some editors leave it in a file that they saved."""
    assert Manifest.loads(b"\xef\xbb\xbf" + GOOD.dumps()) == GOOD


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", '{"a": 1, "a": 2}', "9" * 5000])
def test_free_form_is_still_strict_json(value):
    """No NaN, no key twice, no number of thousands of digits; not even where anything else may stand."""
    data = GOOD.dumps().replace(b'"deep": null', b'"deep": ' + value.encode())
    assert value.encode() in data
    with pytest.raises(ContractError, match="not valid JSON"):
        Manifest.loads(data)
