"""Facts about the native resize filter: Pillow's pixels to the bit, within the caller's memory."""

import ctypes
import mmap
import os
import platform
import re
import subprocess
import sys
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from PIL import Image
from tests.runtime.compilers import c_compiler

from ecovision_edge.base.device import read_cpu
from ecovision_edge.bundle.contract import Contract, InputSpec, ResizeSpec, WeightsSource
from ecovision_edge.preprocess import Preprocessor, native, resize
from ecovision_edge.preprocess.coefficients import PRECISION_BITS, coefficients
from ecovision_edge.preprocess.geometry import Geometry
from ecovision_edge.preprocess.native import open_native

NATIVE = Path(__file__).parents[2] / "runtime" / "native"
SQUASH = ResizeSpec()
CONTRACT = Contract(("a", "b"), WeightsSource("mobilenet_v3_large", "test", "0" * 64), InputSpec())


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The library, compiled from this checkout."""
    path = tmp_path_factory.mktemp("native") / "resize.so"
    command = [sys.executable, str(NATIVE / "compile.py"), str(path)]
    environment = {**os.environ, "CFLAGS": "-Werror", "CC": c_compiler()}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(platform.machine())
    return path


@pytest.fixture(scope="session")
def filters(library):
    """The filter with each kernel that this processor runs."""
    best = open_native(library)
    if best is None:
        pytest.skip("no kernel for this processor: it needs AVX2 or AArch64")
    flags = read_cpu().features
    needs = {"avx2": {"avx2"}, "avx-vnni": {"avx_vnni"}, "avx512-vnni": {"avx512_vnni", "avx512vl"}}
    names = [name for name, flag in needs.items() if flag <= flags]
    names = names or ["neon", "dotprod"][: 1 + (best.kernel == "dotprod")]
    assert best.kernel == names[-1]
    numbers = {name: number for number, name in native.KERNELS.items()}
    return [open_native(library, numbers[name]) for name in names]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pil(image, height, width):
    """Across, then down: in one call some versions of Pillow go down first where a frame is narrow."""
    narrow = Image.fromarray(image).resize((width, image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize((width, height), Image.Resampling.BILINEAR))


def squashed(native_filter, image, height, width):
    rows, columns = image.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    native_filter.resize(image, Geometry(rows, columns, height, width, 0, 0, height, width), out)
    return out


sides = st.one_of(st.integers(1, 40), st.integers(1, 900))


@pytest.mark.slow
@given(st.tuples(sides, sides), st.integers(1, 300), st.integers(1, 300), st.booleans(), st.integers(0, 9))
def test_it_is_pillow_to_the_bit_for_any_sizes(filters, source, height, width, hard, seed):
    """Down, up, mixed, any aspect."""
    image = noise(*source, seed)
    if hard:
        image = image // 128 * 255
    for each in filters:
        assert (squashed(each, image, height, width) == pil(image, height, width)).all()


@pytest.mark.parametrize(
    ("h", "w"), [(256, 256), (480, 640), (448, 448), (1080, 1920), (3, 4000), (1, 1), (225, 223), (3000, 40)]
)
def test_it_is_pillow_to_the_bit_at_the_sizes_that_matter(filters, h, w):
    """Cameras' sizes and extreme ones; 3,000 rows run through the scratch memory several times."""
    for each in filters:
        image = noise(h, w)
        assert (squashed(each, image, 224, 224) == pil(image, 224, 224)).all()


def test_white_stays_white_at_the_strongest_shrink(filters):
    """Weights that add up to more than 1, as rounded ones may, are cut off at 255."""
    for h, w in ((1, 32767), (32767, 1), (300, 32767)):
        white = np.full((h, w, 3), 255, np.uint8)
        for each in filters:
            assert (squashed(each, white, 1, 1) == 255).all()


@pytest.mark.parametrize(("h", "w"), [(480, 640), (256, 256), (1080, 1920), (1920, 1080), (100, 90)])
def test_a_frame_that_shrinks_or_grows_both_ways_is_pillow_in_one_call(filters, h, w):
    """Of whatever version; Pillow 13 goes down first for some upright ones, of 1280 x 720 for instance."""
    image = noise(h, w)
    expected = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR))
    for each in filters:
        assert (squashed(each, image, 224, 224) == expected).all()


@given(st.integers(2, 300), st.integers(2, 300), st.integers(1, 64), st.data())
def test_a_crop_is_cut_out_of_the_whole(filters, h, w, side, data):
    """As `shortest` with a crop in its middle asks for it: no pixel differs from the whole, cut."""
    full = tuple(data.draw(st.integers(side, 3 * side)) for _ in "hw")
    top, left = (data.draw(st.integers(0, size - side)) for size in full)
    image = noise(h, w)
    for each in filters:
        out = np.empty((side, side, 3), np.uint8)
        each.resize(image, Geometry(h, w, *full, top, left, side, side), out)
        assert (out == squashed(each, image, *full)[top : top + side, left : left + side]).all()


def guarded(array, *, at_end):
    """Copy an array to the end, or the beginning, of memory whose neighbours nobody may touch."""
    page = mmap.PAGESIZE
    pages = -(-array.nbytes // page)
    memory = mmap.mmap(-1, (pages + 2) * page)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    begin = page + (pages * page - array.nbytes if at_end else 0)
    copy = np.frombuffer(memory, array.dtype, array.size, begin).reshape(array.shape)
    copy[...] = array
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    for place in (address, address + (pages + 1) * page):
        assert protect(place, page, 0) == 0, os.strerror(ctypes.get_errno())
    return copy


@pytest.mark.parametrize("at_end", [True, False])
@pytest.mark.parametrize(
    ("h", "w", "height", "width"),
    [(480, 640, 224, 224), (1, 1, 5, 7), (2, 3, 1, 1), (9, 2, 30, 30), (64, 64, 33, 21), (5, 700, 9, 11)],
)
def test_it_reads_and_writes_within_the_arrays(filters, h, w, height, width, at_end):
    """Beside them lies memory that kills the process."""
    image = guarded(noise(h, w), at_end=at_end)
    out = guarded(np.zeros((height, width, 3), np.uint8), at_end=at_end)
    for each in filters:
        each.resize(image, Geometry(h, w, height, width, 0, 0, height, width), out)
        assert (out == pil(image, height, width)).all()


@pytest.mark.parametrize("cut", [np.s_[7:, 5:], np.s_[:-3, :-2], np.s_[30:31, 60:61], np.s_[-9:, -4:]])
def test_a_part_of_a_frame_is_read_where_it_lies(filters, cut):
    """Its rows have gaps between them."""
    part = guarded(noise(64, 96), at_end=True)[cut]
    for each in filters:
        expected = squashed(each, np.ascontiguousarray(part), 32, 32)
        assert (squashed(each, part, 32, 32) == expected).all()


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a[:, :, ::-1],
        lambda a: a.transpose(1, 0, 2),
        lambda a: np.broadcast_to(a[:1], a.shape),
        lambda a: as_strided(a[:1], strides=(0, 3, 1)),
        lambda a: as_strided(a[:, :1], strides=(288, -7, 1)),
    ],
)
def test_strides_of_any_kind_are_read_rightly(filters, view):
    """No caller has to know that the library takes plain rows alone."""
    image = view(noise(64, 96))
    for each in filters:
        assert (squashed(each, image, 32, 32) == pil(np.array(image, order="C"), 32, 32)).all()


def test_one_filter_serves_several_threads(filters):
    """Each has scratch memory of its own."""
    each = filters[-1]
    frames = [noise(300 + 60 * i, 400, i) for i in range(4)]
    expected = [squashed(each, frame, 96, 96) for frame in frames]
    start, wrong = threading.Barrier(4), []

    def work(i):
        start.wait()
        wrong.extend(i for _ in range(30) if (squashed(each, frames[i], 96, 96) != expected[i]).any())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@given(st.integers(1, 3000), st.integers(1, 400), st.data())
def test_weights_are_multiples_of_the_step_and_add_up_to_one(source, full, data):
    """To half a step for each; windows follow each other without gaps, as the library relies on."""
    start = data.draw(st.integers(0, full - 1))
    found = coefficients(source, full, start, data.draw(st.integers(start + 1, full)))
    sums = found.weights.sum(axis=1, dtype=np.int64)
    assert (np.abs(sums - (1 << PRECISION_BITS)) <= found.count / 2 + 1).all()
    last = found.first + found.count
    assert (found.count >= 1).all()
    assert found.first[0] >= 0
    assert last[-1] <= source
    assert (np.diff(found.first) >= 0).all()
    assert (found.first[1:] <= last[:-1]).all()


# ---------------------------------------------------------------- whether it is used


@pytest.fixture
def installed(library, monkeypatch):
    """As if the distribution were installed."""
    package = types.ModuleType("ecovision_edge_native")
    package.LIBRARY = library
    monkeypatch.setitem(sys.modules, "ecovision_edge_native", package)
    native.find_native.cache_clear()
    yield package
    native.find_native.cache_clear()


def test_where_it_is_installed_the_runtime_uses_it(installed, filters):
    """For the filter `pil`, and for `fast` where that is `pil`; both inputs of a contract."""
    preprocessor = Preprocessor(CONTRACT)
    assert preprocessor.kernel == filters[-1].kernel
    for image in (noise(480, 640), noise(240, 320)):
        assert (preprocessor.prepare(image)[0] == pil(image, 224, 224)).all()
    small = noise(240, 320)
    assert (resize(small, SQUASH, 224, 224, "fast") == pil(small, 224, 224)).all()


def test_where_it_is_not_installed_numpy_does_it(monkeypatch):
    """Without a word."""
    monkeypatch.setitem(sys.modules, "ecovision_edge_native", None)
    native.find_native.cache_clear()
    try:
        assert Preprocessor(CONTRACT).kernel == "numpy"
        assert resize(noise(480, 640), SQUASH, 224, 224).shape == (224, 224, 3)
    finally:
        native.find_native.cache_clear()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("missing", "cannot be used, so numpy resizes: .*no-such"),
        ("foreign", "cannot be used, so numpy resizes"),
        ("abi", "of another version, so numpy resizes: expected interface 9, found 1"),
        ("pixels", "gives wrong pixels on this processor, so numpy resizes"),
    ],
)
def test_a_library_of_no_use_is_told_once(installed, monkeypatch, tmp_path, caplog, fault, words):
    """Not there, not a library, of another version, or wrong in a single pixel."""
    if fault == "missing":
        installed.LIBRARY = tmp_path / "no-such.so"
    elif fault == "foreign":
        installed.LIBRARY = Path(__file__)
    elif fault == "abi":
        monkeypatch.setattr(native, "ABI", 9)
    else:
        right = native.weighted_levels
        monkeypatch.setattr(native, "weighted_levels", lambda *given: right(*given) ^ np.uint8(1))
    for _ in range(2):
        assert Preprocessor(CONTRACT).kernel == "numpy"
    (record,) = caplog.records
    assert re.search(words, record.getMessage())


def test_the_trial_loads_no_random_numbers(library, filters, monkeypatch):
    """Numpy imports them when they are first used, which takes longer than the whole trial."""
    monkeypatch.setattr(np, "random", None)
    assert open_native(library).kernel == filters[-1].kernel


def test_a_processor_without_a_kernel_is_left_to_numpy(library, monkeypatch):
    """An x86-64 without AVX2: no fault, so nothing is told."""
    monkeypatch.setattr(native, "KERNELS", {})
    assert open_native(library) is None
