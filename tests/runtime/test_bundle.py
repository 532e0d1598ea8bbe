"""Facts about opening a bundle and reading its files."""

import os
import socket
from pathlib import Path

import numpy as np
import pytest

import ecovision_edge.bundle.folder as module
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path, read_file
from ecovision_edge.errors import (
    ArtifactNotFoundError,
    BundleNotFoundError,
    BundleReadError,
    ContractError,
    IntegrityError,
    UnsafePathError,
)


def test_a_bundle_is_opened(bundle, forge):
    """Manifest, contract, and where it is; a path as text will do."""
    opened = Bundle.open(str(bundle))
    assert opened == Bundle.open(bundle)
    assert opened.path == bundle
    assert opened.contract == forge.contract()
    assert [a.name for a in opened.manifest.artifacts] == ["fp32-onnx", "int8-onnx"]


def test_every_file_is_read_as_the_manifest_names_it(bundle):
    """The bytes on disk, for a model and for the golden vectors."""
    opened = Bundle.open(bundle)
    for entry in (*opened.manifest.artifacts, opened.manifest.golden):
        name = getattr(entry.file, "file", entry.file)
        assert opened.read(entry) == (bundle / name).read_bytes()
    assert opened.golden().inputs.shape == (3, 8, 8, 3)


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        *[("auto", "int8-onnx"), ("int8", "int8-onnx"), ("int8-onnx", "int8-onnx")],
        *[("fp32", "fp32-onnx"), ("fp32-onnx", "fp32-onnx")],
    ],
)
def test_an_artifact_is_chosen_by_name_or_precision(bundle, wanted, found):
    """`auto` prefers int8."""
    assert Bundle.open(bundle).artifact(wanted).name == found


def test_auto_is_fp32_where_there_is_no_int8(forge, tmp_path):
    """The next best."""
    opened = Bundle.open(forge.bundle(tmp_path / "b", precisions=("fp32",)))
    assert opened.artifact().name == "fp32-onnx"


@pytest.mark.parametrize("name", ["int4", "", "INT8", "onnx", "\x1b[2J", "x" * 1000])
def test_an_unknown_artifact_is_refused_with_the_known_ones(bundle, name):
    """The message lists what there is; it is a LookupError."""
    with pytest.raises(ArtifactNotFoundError, match="auto or one of fp32-onnx, int8-onnx") as caught:
        Bundle.open(bundle).artifact(name)
    assert isinstance(caught.value, LookupError)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 250


def test_a_bundle_that_is_not_there_is_not_found(tmp_path):
    """Nothing, a file, an empty folder, an impossible name: each a FileNotFoundError."""
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("none", "file", "empty", "a\0b", "file/below"):
        with pytest.raises(BundleNotFoundError, match="expected") as caught:
            Bundle.open(tmp_path / name)
        assert isinstance(caught.value, FileNotFoundError)


def test_a_name_too_long_is_not_found():
    """ENAMETOOLONG does not come through as a bare OSError."""
    with pytest.raises((BundleNotFoundError, BundleReadError)):
        Bundle.open("x" * 5000)


@pytest.mark.parametrize("file", ["model.int8.onnx", "golden.npz"])
@pytest.mark.parametrize("change", ["flip", "truncate", "append", "empty", "swap"])
def test_bytes_that_are_not_the_manifests_are_refused(bundle, file, change):
    """One bit is enough; the message has both digests or both sizes."""
    path = bundle / file
    data = bytearray(path.read_bytes())
    if change == "flip":
        data[len(data) // 2] ^= 1
    elif change == "truncate":
        del data[-1]
    elif change == "append":
        data += b"x"
    elif change == "empty":
        data.clear()
    else:
        data = (bundle / "bundle.json").read_bytes()
    path.write_bytes(data)
    opened = Bundle.open(bundle)
    entry = opened.manifest.golden if file == "golden.npz" else opened.artifact("int8")
    with pytest.raises(IntegrityError, match=r"expected .* bytes.* found .* bytes") as caught:
        opened.read(entry)
    assert isinstance(caught.value, ValueError)


def test_swapped_models_are_refused(forge, tmp_path):
    """Each is a good model, but not the one that the manifest means by that name."""
    other = forge.proto()
    other.producer_name = "another"
    folder = forge.bundle(tmp_path / "b", models={"fp32": forge.model(), "int8": other.SerializeToString()})
    (folder / "model.fp32.onnx").rename(folder / "x")
    (folder / "model.int8.onnx").rename(folder / "model.fp32.onnx")
    (folder / "x").rename(folder / "model.int8.onnx")
    opened = Bundle.open(folder)
    for name in ("fp32", "int8"):
        with pytest.raises(IntegrityError):
            opened.read(opened.artifact(name))


def test_a_missing_file_is_not_found(bundle):
    """It says which."""
    (bundle / "model.int8.onnx").unlink()
    opened = Bundle.open(bundle)
    with pytest.raises(BundleNotFoundError, match=r"model\.int8\.onnx is missing"):
        opened.read(opened.artifact("int8"))


def test_a_manifest_too_large_is_not_read(bundle, monkeypatch):
    """The cap is on what the file system says, before a byte is parsed."""
    size = (bundle / "bundle.json").stat().st_size
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", size)
    Bundle.open(bundle)
    monkeypatch.setattr(module, "MAX_MANIFEST_BYTES", size - 1)
    with pytest.raises(BundleReadError, match="too large") as caught:
        Bundle.open(bundle)
    assert isinstance(caught.value, OSError)


def test_a_sparse_manifest_of_gigabytes_is_refused(bundle):
    """At once, by its size."""
    os.truncate(bundle / "bundle.json", 2**40)
    with pytest.raises(BundleReadError, match="at most 4194304 bytes"):
        Bundle.open(bundle)


def test_golden_vectors_too_large_are_refused(bundle, forge):
    """By the manifest's own word, before the file is touched."""
    forge.edit(bundle, lambda d: d["golden"].update(bytes=2**30))
    with pytest.raises(BundleReadError, match="at most"):
        Bundle.open(bundle).golden()


def test_a_model_longer_than_the_manifest_says_is_not_read(bundle):
    """A file that grew by terabytes is refused by its size."""
    os.truncate(bundle / "model.int8.onnx", 2**40)
    opened = Bundle.open(bundle)
    with pytest.raises(IntegrityError, match="too large"):
        opened.read(opened.artifact("int8"))


def test_a_link_inside_the_bundle_is_followed(bundle):
    """A model store may link its own files."""
    (bundle / "blobs").mkdir()
    (bundle / "model.int8.onnx").rename(bundle / "blobs" / "0")
    (bundle / "model.int8.onnx").symlink_to("blobs/0")
    opened = Bundle.open(bundle)
    assert opened.read(opened.artifact("int8"))


def test_a_bundle_may_itself_be_a_link(bundle, tmp_path):
    """`current -> reference-2026-11`."""
    (tmp_path / "current").symlink_to(bundle, target_is_directory=True)
    opened = Bundle.open(tmp_path / "current")
    assert opened.read(opened.artifact("int8"))


def read_by_name(folder, file):
    opened = Bundle.open(folder)
    return opened.read(opened.manifest.golden if file == "golden.npz" else opened.artifact("int8"))


@pytest.mark.parametrize("file", ["model.int8.onnx", "golden.npz", "bundle.json"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_out_of_the_bundle_is_refused(bundle, tmp_path, file, absolute):
    """Even where the bytes outside are the very ones that the manifest names."""
    secret = tmp_path / "secret"
    (bundle / file).rename(secret)
    (bundle / file).symlink_to(secret if absolute else "../secret")
    with pytest.raises(UnsafePathError, match="leaves the bundle"):
        read_by_name(bundle, file)


def test_a_linked_folder_out_of_the_bundle_is_refused(bundle, tmp_path):
    """Two links deep: out by a folder, back by none."""
    (tmp_path / "outside").mkdir()
    (bundle / "model.int8.onnx").rename(tmp_path / "outside" / "m")
    (bundle / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
    (bundle / "model.int8.onnx").symlink_to("folder/m")
    opened = Bundle.open(bundle)
    with pytest.raises(UnsafePathError):
        opened.read(opened.artifact("int8"))


def test_a_neighbour_with_the_bundles_name_as_prefix_is_outside(bundle, tmp_path):
    """`bundle-2` does not lie in `bundle`."""
    (tmp_path / "bundle-2").mkdir()
    (bundle / "model.int8.onnx").rename(tmp_path / "bundle-2" / "m")
    (bundle / "model.int8.onnx").symlink_to("../bundle-2/m")
    opened = Bundle.open(bundle)
    with pytest.raises(UnsafePathError):
        opened.read(opened.artifact("int8"))


def odd(path, kind):
    """Put something that is no file in the file's place."""
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "long loop":
        path.symlink_to("round")
        (path.parent / "round").symlink_to(path.name)
    elif kind == "nowhere":
        path.symlink_to("nowhere")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.relpath(path))  # a socket's path has 108 bytes at most


@pytest.mark.parametrize("file", ["model.int8.onnx", "golden.npz", "bundle.json"])
@pytest.mark.parametrize("kind", ["folder", "fifo", "loop", "long loop", "nowhere", "socket"])
def test_what_is_no_file_is_refused_and_not_waited_for(bundle, monkeypatch, file, kind):
    """A folder, a fifo nobody writes to, links in a circle or to nowhere, a socket."""
    monkeypatch.chdir(bundle)
    odd(bundle / file, kind)
    with pytest.raises((BundleReadError, BundleNotFoundError)):
        read_by_name(bundle, file)


DESCRIPTORS = Path("/proc/self/fd")


def descriptors():
    return len(list(DESCRIPTORS.iterdir()))


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="counts descriptors in Linux's /proc")
@pytest.mark.parametrize(
    "kind",
    ["fifo", "folder"],
)
def test_a_refused_file_leaves_no_descriptor_open(tmp_path, kind):
    """A device that tries again and again does not run out of them."""
    odd(tmp_path / "x", kind)
    before = descriptors()
    for _ in range(3):
        with pytest.raises(BundleReadError):
            read_file(tmp_path, "x", 10)
    assert descriptors() == before


@pytest.mark.parametrize("name", ["x" * 300, "\ud800", "a\0b", "модель" * 60])
def test_a_name_that_the_system_refuses_is_a_typed_error(tmp_path, name):
    """Too long, half a character, a NUL."""
    with pytest.raises((BundleReadError, BundleNotFoundError)):
        read_file(tmp_path, name, 10)


def test_an_unreadable_file_is_a_read_error(bundle, monkeypatch):
    """EACCES, which root does not get by itself."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.os, "open", refuse)
    with pytest.raises(BundleReadError, match="Permission denied"):
        read_file(bundle, "bundle.json", 10**6)


def test_a_file_is_hashed_as_read(bundle, monkeypatch):
    """It is opened once: what was hashed is what is returned, whatever happens to the file then."""
    opened, count, real = Bundle.open(bundle), [], os.open

    def counted(path, *rest, **named):
        count.append(str(path))
        return real(path, *rest, **named)

    monkeypatch.setattr(module.os, "open", counted)
    opened.read(opened.artifact("int8"))
    assert [Path(p).name for p in count] == ["model.int8.onnx"]


def test_the_manifest_alone_opens_a_bundle(bundle):
    """Models are read when they are asked for."""
    for path in bundle.iterdir():
        if path.name != "bundle.json":
            path.unlink()
    assert len(Bundle.open(bundle).manifest.artifacts) == 2


def test_a_broken_contract_in_the_manifest_is_a_contract_error(bundle, forge):
    """Not a KeyError, not a bundle error."""
    forge.edit(bundle, lambda d: d["contract"].pop("labels"))
    with pytest.raises(ContractError, match="labels"):
        Bundle.open(bundle)


def test_the_embedded_bundle_is_whole():
    """Every file that its manifest names is there and has its digest; the ten classes of garbage."""
    opened = Bundle.open(embedded_bundle_path())
    assert len(opened.contract.labels) == 10
    for entry in opened.manifest.artifacts:
        assert len(opened.read(entry)) == entry.file.bytes
    golden = opened.golden()
    assert set(golden.logits) == {a.name for a in opened.manifest.artifacts}
    assert golden.inputs.dtype == np.uint8
