"""Hostile bundles: whatever is in the folder, the answer is a result or a typed error.

Each case starts from a valid bundle and damages it; then everything that reads a bundle has a go at it.
"""

import contextlib
import copy
import json
import os
import shutil
import tempfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import EcovisionError
from ecovision_edge.verify import verify_bundle

FILES = ("bundle.json", "model.fp32.onnx", "model.int8.onnx", "golden.npz")
# The same cases in every run: a failure that comes and goes helps nobody who waits for a release.
FUZZ = settings(suppress_health_check=[HealthCheck.too_slow])


@contextlib.contextmanager
def damaged(pristine):
    """A copy of the valid bundle, in a folder that has a neighbour with a secret."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "secret").write_text("secret")
        bundle = Path(folder) / "bundle"
        shutil.copytree(pristine, bundle)
        yield bundle


def exercise(bundle):
    """Everything that reads a bundle; returns how often it was refused."""
    refused, messages = 0, []

    def attempt(read):
        nonlocal refused
        try:
            return read()
        except EcovisionError as e:
            refused += 1
            messages.append(e.message)
            return None

    opened = attempt(lambda: Bundle.open(bundle))
    if opened is not None:
        attempt(opened.golden)
        for entry in opened.manifest.artifacts:
            attempt(lambda entry=entry: opened.read(entry))
            attempt(lambda entry=entry: Classifier.load(bundle, artifact=entry.name, threads=1))
    attempt(lambda: Classifier.load(bundle, threads=1))
    attempt(lambda: Classifier.load(bundle / "model.fp32.onnx", threads=1))
    report = attempt(lambda: verify_bundle(bundle))
    if report is not None:
        refused += not report.ok
        messages += [check.detail for check in report.checks]
    assert not [m for m in messages if "\n" in m]
    return refused


def test_an_undamaged_bundle_is_never_refused(pristine):
    """The harness itself does not refuse."""
    with damaged(pristine) as bundle:
        assert exercise(bundle) == 0


RAW = {  # stands for text that json.dumps does not write
    "@deep": "[" * 100_000 + "]" * 100_000,
    "@deep objects": '{"a":' * 100_000 + "1" + "}" * 100_000,
    "@inside the limit": "[" * 500 + "]" * 500,
    "@integer": "9" * 5000,
    "@infinite": "1e999",
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@twice": '{"a": 1, "a": 2}',
    "@bytes": '"\udcff\udcfe"',
    "@broken": "}{",
    "@half": '"\\ud800"',
}
VALUES = st.sampled_from(
    [
        *[None, True, False, 0, -1, 1, 2, 2**31, 2**63, 10**400, 0.5, -0.0, 1e308, 5e-324],
        *["", "..", ".", "../secret", "/etc/hostname", "secret", "bundle.json", "a\0b", "..\\secret", "C:x"],
        *["\ud800", "\x1b[2J", "x" * 5000, "1", "true", "int8", "fp32", "onnx", "tflite", "0" * 64],
        *["golden.npz", "model.int8.onnx", "float32", "NCHW", "RGB", "shortest", "probabilities"],
        *[[], {}, [[[]]], [None] * 3000, {"a": {"b": 1}}, [0.1, 0.2, 0.3], ["a", "b", "c"], ["a"] * 3],
        *RAW,
    ]
) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value, path=()):
    """The path of every key and item in nested JSON."""
    children = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, child in children:
        yield (*path, key)
        yield from places(child, (*path, key))


def mutate(data, action, where, value):
    """Replace, delete, rename, repeat or add at the place number `where`."""
    path = list(places(data))[where % len(list(places(data)))]
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    key = path[-1]
    if action == "replace":
        parent[key] = value
    elif action == "delete":
        del parent[key]
    elif isinstance(parent, list):
        parent.insert(key, value if action == "add" else copy.deepcopy(parent[key]))
    elif action == "rename":
        parent[f"{key}_"] = parent.pop(key)
    elif action == "repeat":
        parent[key] = [parent[key]] * 2
    else:
        parent["unknown"] = value
    return data


@pytest.mark.slow
@FUZZ
@given(
    mutations=st.lists(
        st.tuples(
            st.sampled_from(["replace", "replace", "replace", "delete", "rename", "repeat", "add"]),
            st.integers(0, 200),
            VALUES,
        ),
        min_size=1,
        max_size=3,
    )
)
def test_mutated_json_is_refused_or_read(pristine, mutations):
    """Keys deleted, renamed, of another type, huge, nested, twice, half a character, not UTF-8."""
    with damaged(pristine) as bundle:
        data = json.loads((bundle / "bundle.json").read_bytes())
        for action, where, value in mutations:
            if data:
                mutate(data, action, where, copy.deepcopy(value))
        text = json.dumps(data)
        for key, raw in RAW.items():
            text = text.replace(json.dumps(key), raw)
        (bundle / "bundle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        exercise(bundle)


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW.keys())
@pytest.mark.parametrize("place", ["schema_version", "name", "artifacts", "contract", "golden", "provenance"])
def test_raw_json_that_is_none_is_refused(pristine, place, raw):
    """In every place of the manifest; only free-form provenance may be strange."""
    with damaged(pristine) as bundle:
        data = json.loads((bundle / "bundle.json").read_bytes())
        data[place] = "@"
        text = json.dumps(data).replace('"@"', raw)
        (bundle / "bundle.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert exercise(bundle) > 0


EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "drop", "insert"]), st.floats(0, 0.999), st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def edit(data, edits):
    """Bytes flipped, set, cut off, dropped or put in."""
    data = bytearray(data)
    for action, where, value in edits:
        at = int(where * len(data))
        if not data:
            break
        if action == "flip":
            data[at] ^= 1 << value % 8
        elif action == "set":
            data[at] = value
        elif action == "cut":
            del data[at:]
        elif action == "drop":
            del data[at : at + value]
        else:
            data[at:at] = bytes([value]) * (value % 9 + 1)
    return bytes(data)


@FUZZ
@given(file=st.sampled_from(FILES), edits=EDITS)
def test_damaged_files_are_refused_or_read(pristine, file, edits):
    """Bits flipped, files cut off: by the digests nothing but the manifest can differ and still be read."""
    with damaged(pristine) as bundle:
        before = (bundle / file).read_bytes()
        after = edit(before, edits)
        (bundle / file).write_bytes(after)
        refused = exercise(bundle)
        if file != "bundle.json" and after != before:
            assert refused > 0


@FUZZ
@given(file=st.sampled_from(["model.int8.onnx", "golden.npz"]), edits=EDITS)
def test_damaged_files_with_the_right_digest_are_refused_or_read(pristine, forge, file, edits):
    """Who can write the manifest too gets past the digest, and then no further than a typed error."""
    with damaged(pristine) as bundle:
        data = edit((bundle / file).read_bytes(), edits)
        forge.put(bundle, file, data)
        exercise(bundle)


@FUZZ
@given(first=st.sampled_from(FILES), second=st.sampled_from(FILES), digest=st.booleans())
def test_swapped_files_are_refused(pristine, forge, first, second, digest):
    """A file in another's place, with or without its digest, is noticed wherever the bytes differ."""
    with damaged(pristine) as bundle:
        data = (bundle / second).read_bytes()
        same = data == (bundle / first).read_bytes()
        if digest and first != "bundle.json":
            forge.put(bundle, first, data)
        else:
            (bundle / first).write_bytes(data)
        assert (exercise(bundle) == 0) == same


def plant(bundle, file, kind):
    path = bundle / file
    data = path.read_bytes()
    path.unlink()
    if kind == "link to outside":
        path.symlink_to("../secret")
    elif kind == "absolute link":
        path.symlink_to("/etc/hostname")
    elif kind == "same bytes outside":
        (bundle.parent / "outside").write_bytes(data)
        path.symlink_to(bundle.parent / "outside")
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    elif kind == "loop":
        path.symlink_to(file)
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link inside":
        (bundle / "real").write_bytes(data)
        path.symlink_to("real")


LINKS = ("link to outside", "absolute link", "same bytes outside", "link to a device", "loop")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", [*LINKS, "folder", "fifo", "gone"])
def test_odd_things_in_place_of_a_file_are_refused(pristine, file, kind):
    """Links out, links in circles, folders, fifos, devices, nothing; never read, never waited for."""
    with damaged(pristine) as bundle:
        plant(bundle, file, kind)
        assert exercise(bundle) > 0


def test_a_link_inside_is_not_refused(pristine):
    """It leaves nothing."""
    with damaged(pristine) as bundle:
        for i, file in enumerate(FILES[1:3]):
            plant(bundle, file, "link inside")
            (bundle / "real").rename(bundle / f"real{i}")
            (bundle / file).unlink()
            (bundle / file).symlink_to(f"real{i}")
        assert exercise(bundle) == 0


AUDIT = """
    import contextlib, json, os, shutil, sys, tempfile
    from pathlib import Path
    from ecovision_edge.bundle.folder import Bundle
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.errors import EcovisionError
    from ecovision_edge.verify import verify_bundle
    Classifier.load(profile=False)  # everything is imported

    pristine, root = Path(sys.argv[1]), Path(sys.argv[2])
    opens, listening = [], False

    def hook(event, args):
        if listening and event == "open" and not isinstance(args[0], int):
            opens.append(os.fsdecode(args[0]))

    sys.addaudithook(hook)

    def attempt(read):
        with contextlib.suppress(EcovisionError):
            return read()

    def exercise(bundle):
        attempt(lambda: verify_bundle(bundle))
        attempt(lambda: Classifier.load(bundle, profile=False))
        opened = attempt(lambda: Bundle.open(bundle))
        if opened is not None:
            attempt(opened.golden)
            for entry in opened.manifest.artifacts:
                attempt(lambda: opened.read(entry))

    secret = root / "secret"
    shutil.copy(pristine / "model.int8.onnx", secret)
    names = [str(secret), "../secret", "..", "./../secret", "x/../../secret", "..\\\\secret"]
    cases = []
    for i, name in enumerate(names):
        bundle = root / f"bundle{i}"
        shutil.copytree(pristine, bundle)
        data = json.loads((bundle / "bundle.json").read_bytes())
        for entry in (*data["artifacts"], data["golden"])[i % 3 :]:
            entry["file"] = name
        (bundle / "bundle.json").write_text(json.dumps(data))
        cases.append(bundle)
    for i, file in enumerate(["bundle.json", "model.fp32.onnx", "model.int8.onnx", "golden.npz"]):
        for j, target in enumerate([secret, Path("../secret"), Path("/etc/hostname"), pristine / file]):
            bundle = root / f"link{i}{j}"
            shutil.copytree(pristine, bundle)
            (bundle / file).unlink()
            (bundle / file).symlink_to(target)
            cases.append(bundle)
    untouched = root / "untouched"
    shutil.copytree(pristine, untouched)

    exercise(untouched)  # now every module and every codec that is needed is loaded
    result = {"outside": [], "inside": 0}
    for bundle in [*cases, untouched]:
        opens.clear()
        listening = True
        exercise(bundle)
        listening = False
        for path in opens:
            if Path(path).resolve().is_relative_to(bundle.resolve()):
                result["inside"] += 1
            elif path != "/proc/cpuinfo":
                result["outside"].append([bundle.name, path])
    print(json.dumps(result))
"""


@pytest.mark.slow
def test_no_file_outside_the_bundle_is_opened(pristine, tmp_path, python):
    """The interpreter's own audit of `open` sees none, with names and links that all lead to a real file.

    But for the device profile, which no bundle names.
    """
    ran = python("-c", textwrap.dedent(AUDIT), pristine, tmp_path)
    assert ran.returncode == 0, ran.stderr.decode()
    result = json.loads(ran.stdout.splitlines()[-1])
    assert result["outside"] == []
    assert result["inside"] > 20
