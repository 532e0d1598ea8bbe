"""Facts about preparing a frame: what is one, and how near the two filters come to their definitions."""

import os
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided
from PIL import Image

from ecovision_edge import preprocess
from ecovision_edge.bundle.contract import Contract, InputSpec, Normalization, ResizeSpec, WeightsSource
from ecovision_edge.errors import FrameTypeError, FrameValueError, OptionError
from ecovision_edge.preprocess import MAX_FRAME_SIDE, Preprocessor, as_bgr, resize
from ecovision_edge.preprocess.buffers import KEPT_BYTES, Buffers
from ecovision_edge.preprocess.geometry import Geometry

REPOSITORY = Path(__file__).parents[2]
WEIGHTS = WeightsSource("mobilenet_v3_large", "test", "0" * 64)
SQUASH = ResizeSpec()


@pytest.fixture(autouse=True, scope="module")
def numpy_resizes():
    """Also where the native library is installed; `test_native.py` has its facts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preprocess, "find_native", lambda: None)
        yield


def contract(dtype="uint8", spec=SQUASH, side=224):
    if dtype == "uint8":
        return Contract(("a", "b"), WEIGHTS, InputSpec(height=side, width=side), spec)
    form = InputSpec(layout="NCHW", dtype="float32", color="RGB", height=side, width=side)
    return Contract(("a", "b"), WEIGHTS, form, spec, Normalization(in_graph=False))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def drawn(height, width, seed=0):
    """Gradients, hard edges and a little noise: something like a picture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 / width, y * 255 / height, (x + y) * 255 / (width + height)], -1)
    picture = np.ascontiguousarray(picture.astype(np.uint8))
    for _ in range(6):
        a, b = ((int(rng.integers(width)), int(rng.integers(height))) for _ in "ab")
        cv2.rectangle(picture, a, b, [int(v) for v in rng.integers(0, 256, 3)], -1)
        cv2.circle(picture, a, max(1, min(height, width) // 5), [int(v) for v in rng.integers(0, 256, 3)], 2)
    return cv2.add(picture, rng.integers(0, 9, picture.shape, dtype=np.uint8))


def smooth(height, width):
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = [np.sin(7 * x + 3 * y), np.cos(5 * y), np.sin(4 * x * y)]
    return np.clip(np.stack(waves, -1) * 110 + 128, 0, 255).astype(np.uint8)


def pil(image, height, width):
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def farthest(a, b):
    assert a.shape == b.shape
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# ---------------------------------------------------------------- pil

sides = st.one_of(st.integers(1, 40), st.integers(1, 900))
pictures = st.sampled_from([noise, drawn])


@given(st.tuples(sides, sides), st.integers(1, 300), st.integers(1, 300), pictures, st.integers(0, 9))
def test_pil_is_within_one_level_of_pillow_for_any_sizes(source, height, width, picture, seed):
    """Down, up, mixed, any aspect."""
    image = picture(*source, seed)
    assert farthest(resize(image, SQUASH, height, width, "pil"), pil(image, height, width)) <= 1


@pytest.mark.parametrize(
    ("h", "w"),
    [(256, 256), (480, 640), (448, 448), (1080, 1920), (4000, 37), (3, 4000), (1, 4000), (1, 1), (225, 223)],
)
def test_pil_is_within_one_level_of_pillow_at_the_sizes_that_matter(h, w):
    """Cameras' sizes, extreme ones, and 8 to 7, where exact halves abound."""
    for image in (drawn(h, w), noise(h, w), noise(h, w) // 128 * 255):
        assert farthest(resize(image, SQUASH, 224, 224, "pil"), pil(image, 224, 224)) <= 1


@pytest.mark.parametrize(("h", "w"), [(256, 256), (480, 640), (448, 448)])
def test_pil_equals_pillow_in_nearly_every_pixel(h, w):
    """One level is the bound, not the habit: rounding follows Pillow's, halves included."""
    image = drawn(h, w)
    unequal = resize(image, SQUASH, 224, 224, "pil") != pil(image, 224, 224)
    assert unequal.mean() < 0.002


@pytest.mark.parametrize("most", [1, 1 << 15, 1 << 30])
@pytest.mark.parametrize("group", [1, 1 << 16, 1 << 30])
def test_pil_is_within_one_level_of_pillow_however_it_divides_the_work(monkeypatch, most, group):
    """Into strips of rows and blocks of outputs, and into groups of blocks."""
    monkeypatch.setattr(preprocess.antialias, "MOST_PRODUCT", most)
    monkeypatch.setattr(preprocess.antialias, "GROUP_BYTES", group)
    make_plan = preprocess.antialias.make_plan.__wrapped__  # the cached plans are made with other sizes
    monkeypatch.setattr(preprocess.antialias, "make_plan", make_plan)
    image = drawn(700, 500)
    assert farthest(resize(image, SQUASH, 224, 224, "pil"), pil(image, 224, 224)) <= 1


@pytest.mark.parametrize(("h", "w"), [(240, 320), (480, 640), (1080, 1920), (3040, 4056), (6000, 8000)])
@pytest.mark.parametrize("side", [96, 224, 640])
def test_no_product_is_so_large_that_blas_gives_it_to_threads(h, w, side):
    plan = preprocess.antialias.make_plan(Geometry.of(SQUASH, h, w, side, side))
    for groups, columns in ((plan.across, plan.step * 3), (plan.down, side * 3)):
        for group in groups:
            for weights, _, _ in group.products:
                assert weights.size * columns <= preprocess.antialias.MOST_PRODUCT


ALONE = """
import sys, time
import cv2, numpy as np
from ecovision_edge.bundle.contract import ResizeSpec
from ecovision_edge.preprocess.antialias import antialiased_resize
from ecovision_edge.preprocess.geometry import Geometry

cv2.setNumThreads(1)
frame, out = np.zeros((1080, 1920, 3), np.uint8), np.empty((224, 224, 3), np.uint8)
geometry = Geometry.of(ResizeSpec(), 1080, 1920, 224, 224)
every, own = time.process_time(), time.thread_time()
for _ in range(40):
    antialiased_resize(frame, geometry, out)
print((time.process_time() - every) / (time.thread_time() - own))
"""


def test_pil_keeps_to_the_thread_that_asks_for_it():
    """Numpy's BLAS would take all cores where nothing forbids it; this is a share of work, not a time."""
    env = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    ran = subprocess.run(
        [sys.executable, "-c", ALONE], env=env, capture_output=True, text=True, check=True, timeout=120
    )
    assert float(ran.stdout) < 1.2


def test_pil_does_not_depend_on_the_frames_before():
    """Its scratch memory is used again, for frames that are larger or smaller."""
    frames = [
        noise(40, 30),
        drawn(480, 640),
        noise(1000, 700),
        noise(3, 900),
        noise(700, 1000),
        drawn(480, 640),
    ]
    expected = []
    for frame in frames:
        alone = threading.Thread(target=lambda f=frame: expected.append(resize(f, SQUASH, 224, 224, "pil")))
        alone.start()  # with scratch memory of its own
        alone.join()
    for frame, other in zip(frames, expected, strict=True):
        assert (resize(frame, SQUASH, 224, 224, "pil") == other).all()


def test_pil_keeps_a_bounded_amount_of_memory(monkeypatch):
    """A frame that needs more gets it, and gives it back."""
    monkeypatch.setattr(preprocess.antialias, "_buffers", Buffers())
    image = noise(20000, 2)
    assert farthest(resize(image, SQUASH, 224, 224, "pil"), pil(image, 224, 224)) <= 1
    kept = preprocess.antialias._buffers._kept
    assert "narrow" not in kept
    assert all(memory.nbytes <= KEPT_BYTES for memory in kept.values())


def test_pil_keeps_a_flat_picture_flat():
    """Weights sum to one, at the edges too."""
    for level in (0, 1, 127, 128, 254, 255):
        flat = np.full((333, 517, 3), level, np.uint8)
        assert (resize(flat, SQUASH, 224, 224, "pil") == level).all()


def folder_of_photographs():
    given_folder = os.environ.get("ECOVISION_DATA")
    return Path(given_folder) if given_folder else REPOSITORY.parent / "shared/data/garbage-v2"


def test_pil_is_within_one_level_of_pillow_on_photographs():
    """Fifty real ones, at the network's size."""
    paths = sorted(folder_of_photographs().rglob("*.jpg"))
    if not paths:
        pytest.skip("no photographs: set ECOVISION_DATA to a folder that holds some .jpg files")
    for path in paths[:: max(1, len(paths) // 50)][:50]:
        image = cv2.imread(str(path))
        assert farthest(resize(image, SQUASH, 224, 224, "pil"), pil(image, 224, 224)) <= 1


# ---------------------------------------------------------------- shortest edge and crop


@pytest.mark.slow
@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 260), st.data())
def test_shortest_is_torchvisions_resize_and_center_crop(h, w, shortest, data):
    """Its rounding of the longer edge and of the offset included."""
    transforms = pytest.importorskip("torchvision.transforms", reason="needs torchvision: [export]")
    if max(h, w) / min(h, w) * shortest**2 > 1e6:  # torchvision makes the whole picture, so keep it small
        w = h
    height, width = (data.draw(st.integers(1, shortest)) for _ in "hw")
    image = noise(h, w)
    picture = transforms.Resize(shortest)(Image.fromarray(image))
    expected = np.asarray(transforms.CenterCrop((height, width))(picture))
    assert farthest(resize(image, ResizeSpec("shortest", shortest), height, width, "pil"), expected) <= 1


@pytest.mark.parametrize(("h", "w"), [(480, 640), (641, 333), (1080, 1920), (100, 150), (256, 300)])
def test_fast_cuts_the_same_window_as_pil(h, w):
    """The geometry is the filter's business no more than the content is."""
    spec = ResizeSpec("shortest", 256)
    image = smooth(h, w)
    assert farthest(resize(image, spec, 224, 224, "fast"), resize(image, spec, 224, 224, "pil")) <= 3


def test_shortest_of_a_ribbon_computes_the_crop_only():
    """Made whole, a frame of 1x32767 pixels would become 256x8388352."""
    ribbon = noise(1, MAX_FRAME_SIDE)
    for name in ("pil", "fast"):
        assert resize(ribbon, ResizeSpec("shortest", 256), 224, 224, name).shape == (224, 224, 3)


@pytest.mark.parametrize("name", ["pil", "fast"])
def test_a_frame_of_the_networks_own_size_passes_unchanged(name):
    """And the result is the caller's to keep: not the frame itself."""
    frame = noise(224, 224)
    result = resize(frame, SQUASH, 224, 224, name)
    assert (result == frame).all()
    assert not np.shares_memory(result, frame)


# ---------------------------------------------------------------- fast


@pytest.mark.slow
@pytest.mark.parametrize(
    ("h", "w"),
    [
        *[(256, 256), (384, 512), (480, 640), (600, 800), (720, 1280), (1080, 1920), (1079, 1919)],
        *[(961, 1281), (2000, 1500), (241, 1999), (2464, 3280), (225, 100), (100, 900)],
    ],
)
def test_fast_is_close_to_pil_on_smooth_pictures(h, w):
    """Within 3 levels anywhere and a half on average, odd sizes and both directions included."""
    image = smooth(h, w)
    fast, exact = resize(image, SQUASH, 224, 224, "fast"), resize(image, SQUASH, 224, 224, "pil")
    assert farthest(fast, exact) <= 3
    assert cv2.absdiff(fast, exact).mean() < 0.5


@pytest.mark.parametrize(("h", "w"), [(480, 640), (720, 1280), (1080, 1920), (1500, 2000)])
def test_fast_is_nearer_to_pil_than_opencvs_own_filters(h, w):
    """Which is what it is for."""
    image = drawn(h, w)
    exact = resize(image, SQUASH, 224, 224, "pil")

    def distance(other):
        return cv2.absdiff(other, exact).mean()

    fast = distance(resize(image, SQUASH, 224, 224, "fast"))
    assert fast < distance(cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA))
    assert fast < distance(cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR)) / 2


@pytest.mark.parametrize("factor", [2, 3, 5])
def test_fast_is_pil_but_for_rounding_where_the_shrink_is_a_small_whole_number(factor):
    """Even on noise; but at the edge OpenCV mirrors pixels where PIL leaves them out."""
    image = noise(90 * factor, 70 * factor)
    fast, exact = (resize(image, SQUASH, 90, 70, name)[1:-1, 1:-1] for name in ("fast", "pil"))
    assert farthest(fast, exact) <= 2


@pytest.mark.parametrize(("h", "w"), [(256, 256), (240, 320), (320, 225), (200, 300)])
def test_fast_is_pil_where_the_shrink_is_small(h, w):
    """Where the exact filter is cheap too."""
    image = noise(h, w)
    assert (resize(image, SQUASH, 224, 224, "fast") == resize(image, SQUASH, 224, 224, "pil")).all()


@given(st.integers(1, 200), st.integers(1, 200))
def test_fast_is_inter_linear_when_it_enlarges(h, w):
    """There is nothing to antialias."""
    image = noise(h, w)
    expected = cv2.resize(image, (224, 224), interpolation=cv2.INTER_LINEAR_EXACT)
    assert (resize(image, SQUASH, 224, 224, "fast") == expected).all()


# CRC-32 of `noise(*size)` by `fast` on x86; emulated Arm boards run this test too.
FAST_BYTES = {
    (448, 448): 0xA22C19CF,
    (480, 640): 0x75AD8E55,
    (640, 480): 0xD8387FB2,
    (1080, 1920): 0x0510EC75,
    (120, 160): 0x6B603662,
}


@pytest.mark.parametrize("size", FAST_BYTES)
def test_fast_gives_the_same_bytes_on_every_processor(size):
    """OpenCV's INTER_LINEAR does not: on Arm it rounds up, a third of the bytes."""
    image = noise(*size)
    assert zlib.crc32(resize(image, SQUASH, 224, 224, "fast").tobytes()) == FAST_BYTES[size]


@given(st.integers(1, 2500), st.integers(1, 2500), st.integers(1, 260), st.integers(1, 260))
def test_fast_fills_every_pixel_at_any_size(h, w, height, width):
    """A flat frame stays flat: no row is missed where halving drops one."""
    image = np.full((h, w, 3), 77, np.uint8)
    assert (resize(image, SQUASH, height, width, "fast") == 77).all()


# ---------------------------------------------------------------- the network's input


def test_uint8_input_is_the_resized_frame_and_nothing_else():
    """Same order of colours, one batch axis more."""
    frame = drawn(480, 640)
    batch = Preprocessor(contract()).prepare(frame)
    assert batch.shape == contract().input.shape(1)
    assert batch.dtype == np.uint8
    assert batch.flags.c_contiguous
    assert (batch[0] == resize(frame, SQUASH, 224, 224)).all()


def test_float32_input_equals_torchvisions_to_tensor_and_normalize():
    """Given the same resized pixels."""
    transforms = pytest.importorskip("torchvision.transforms", reason="needs torchvision: [export]")
    frame = drawn(480, 640)
    batch = Preprocessor(contract("float32")).prepare(frame)
    small = np.ascontiguousarray(resize(frame, SQUASH, 224, 224)[:, :, ::-1])
    norm = Normalization()
    tensor = transforms.Normalize(norm.mean, norm.std)(transforms.ToTensor()(Image.fromarray(small)))
    assert batch.shape == (1, 3, 224, 224)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    assert np.abs(batch[0] - tensor.numpy()).max() <= 1e-6


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", ["pil", "fast"])
def test_a_batch_equals_its_frames_one_by_one(dtype, name):
    """Of unlike sizes and kinds."""
    frames = [drawn(480, 640), noise(100, 30), drawn(224, 224)[:, :, 0], noise(1, 1)]
    preprocessor = Preprocessor(contract(dtype), filter=name)
    batch = preprocessor.prepare_batch(frames)
    assert batch.shape == contract(dtype).input.shape(4)
    for one, frame in zip(batch, frames, strict=True):
        assert (one == preprocessor.prepare(frame)[0]).all()


def test_a_batch_may_be_one_array():
    """As a video reader gives it."""
    frames = np.stack([noise(60, 80, seed) for seed in range(3)])
    preprocessor = Preprocessor(contract())
    assert (preprocessor.prepare_batch(frames) == preprocessor.prepare_batch(list(frames))).all()


@pytest.mark.parametrize(
    ("frames", "error", "words"),
    [
        ([], FrameValueError, "at least one frame"),
        (np.zeros((9, 9, 3), np.uint8), FrameValueError, "single frame"),
        (None, FrameTypeError, "a list or tuple of frames, found NoneType"),
        ("photo.jpg", FrameTypeError, "found str"),
        ([np.zeros((9, 9, 3), np.uint8), None], FrameTypeError, "frame 1 of the batch"),
        ([np.zeros((3, 9, 9), np.uint8)], FrameValueError, "frame 0 of the batch"),
    ],
)
def test_a_wrong_batch_is_refused(frames, error, words):
    """And the frame at fault is named."""
    with pytest.raises(error, match=words):
        Preprocessor(contract()).prepare_batch(frames)


def test_the_filter_is_the_contracts_unless_overridden():
    """An override is for measuring."""
    assert Preprocessor(contract(spec=ResizeSpec(filter="pil"))).filter == "pil"
    assert Preprocessor(contract(spec=ResizeSpec(filter="pil")), filter="fast").filter == "fast"
    with pytest.raises(OptionError, match="pil or fast, found nearest"):
        Preprocessor(contract(), filter="nearest")


@pytest.mark.parametrize(("height", "width", "spec"), [(0, 9, SQUASH), (9, 9, ResizeSpec("shortest", 8))])
def test_a_size_that_cannot_be_made_is_refused(height, width, spec):
    """Rather than padded or crashed on."""
    with pytest.raises(OptionError, match="size to resize to"):
        resize(noise(20, 20), spec, height, width)


@pytest.mark.parametrize("name", ["pil", "fast"])
def test_results_are_never_overwritten_by_later_frames(name):
    """A result may be queued while the next frame is prepared."""
    preprocessor = Preprocessor(contract(), filter=name)
    first = preprocessor.prepare(drawn(480, 640))
    kept = first.copy()
    preprocessor.prepare(noise(480, 640))
    assert (first == kept).all()


@pytest.mark.parametrize("name", ["pil", "fast"])
def test_one_preprocessor_serves_several_threads(name):
    """Each gets the answer that it would get alone."""
    preprocessor = Preprocessor(contract(), filter=name)
    frames = [drawn(480 + 10 * i, 640, i) for i in range(4)]
    expected = [preprocessor.prepare(frame) for frame in frames]
    start, wrong = threading.Barrier(4), []

    def work(i):
        start.wait()
        wrong.extend(i for _ in range(15) if (preprocessor.prepare(frames[i]) != expected[i]).any())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---------------------------------------------------------------- what is a frame

BIG = as_strided(np.zeros(1, np.uint8), (MAX_FRAME_SIDE + 1, 2, 3), (0, 0, 0))


class Tensor:
    """Looks like torch's, without torch."""

    __module__ = "torch"


PIXEL = np.zeros((4, 5, 3), np.uint8)
SHAPE = r"expected \(height, width, 3\) uint8 BGR, found "

MISUSE = [
    pytest.param(None, FrameTypeError, "the camera gave no frame", id="none"),
    pytest.param("photo.jpg", FrameTypeError, "use cv2.imread", id="path text"),
    pytest.param(Path("photo.jpg"), FrameTypeError, "use cv2.imread", id="path"),
    pytest.param(b"\xff\xd8", FrameTypeError, "found bytes", id="bytes"),
    pytest.param([PIXEL], FrameTypeError, "found list; several frames go to classify_batch", id="list"),
    pytest.param((True, PIXEL), FrameTypeError, r"\(ok, frame\): give the frame alone", id="capture.read()"),
    pytest.param(Image.new("RGB", (4, 4)), FrameTypeError, r"np.asarray\(image.convert\('RGB'\)\)", id="PIL"),
    pytest.param(Tensor(), FrameTypeError, r"tensor.cpu\(\).numpy\(\)", id="tensor"),
    pytest.param(cv2.UMat(PIXEL), FrameTypeError, r"frame.get\(\)", id="UMat"),
    pytest.param(7, FrameTypeError, "found int", id="number"),
    pytest.param(PIXEL.astype(bool), FrameTypeError, "found bool of shape .4, 5, 3.", id="bool"),
    pytest.param(PIXEL.astype(np.int8), FrameTypeError, "found int8", id="int8"),
    pytest.param(PIXEL.astype(np.int16), FrameTypeError, "found int16", id="int16"),
    pytest.param(PIXEL.astype(np.int64), FrameTypeError, "found int64", id="int64"),
    pytest.param(PIXEL.astype(np.uint16), FrameTypeError, "found uint16.*frame >> 8", id="uint16"),
    pytest.param(PIXEL.astype(np.float16), FrameTypeError, "found float16", id="float16"),
    pytest.param(PIXEL.astype(complex), FrameTypeError, "found complex128", id="complex"),
    pytest.param(PIXEL.astype(object), FrameTypeError, "found object", id="object"),
    pytest.param(np.array("frame"), FrameTypeError, "found <U5", id="text array"),
    pytest.param(np.zeros((0, 5, 3), np.uint8), FrameValueError, SHAPE + r"\(0, 5, 3\)", id="no rows"),
    pytest.param(np.zeros((5, 0), np.uint8), FrameValueError, "it has no pixels", id="no columns"),
    pytest.param(np.array([]), FrameValueError, "it has no pixels", id="empty"),
    pytest.param(np.array(3, np.uint8), FrameValueError, SHAPE + r"\(\) uint8", id="0-D"),
    pytest.param(np.zeros(9, np.uint8), FrameValueError, SHAPE + r"\(9,\) uint8", id="1-D"),
    pytest.param(PIXEL[None], FrameValueError, SHAPE + ".*use classify_batch", id="batch"),
    pytest.param(np.zeros((1, 2, 3, 4, 5), np.uint8), FrameValueError, SHAPE, id="5-D"),
    pytest.param(np.zeros((9, 9, 2), np.uint8), FrameValueError, SHAPE + r"\(9, 9, 2\)", id="2 channels"),
    pytest.param(np.zeros((9, 9, 5), np.uint8), FrameValueError, SHAPE + r"\(9, 9, 5\)", id="5 channels"),
    pytest.param(
        np.zeros((3, 8, 9), np.uint8), FrameValueError, SHAPE + r".*transpose\(1, 2, 0\)", id="channels first"
    ),
    pytest.param(BIG, FrameValueError, "at most 32767 pixels a side", id="too large"),
    pytest.param(
        np.full((4, 4, 3), 200.0), FrameValueError, "from 200 to 200.*give uint8", id="0..255 floats"
    ),
    pytest.param(np.full((4, 4, 3), -0.1), FrameValueError, "from -0.1 to -0.1", id="normalized floats"),
    pytest.param(np.full((4, 4, 3), np.nan), FrameValueError, "some values are not finite", id="nan"),
    pytest.param(np.full((4, 4), np.inf, np.float32), FrameValueError, "not finite", id="inf"),
]


@pytest.mark.parametrize(("frame", "error", "words"), MISUSE)
def test_what_is_not_a_frame_is_refused_with_advice(frame, error, words):
    """Typed, and the message says what was found and what to do."""
    for take in (as_bgr, Preprocessor(contract()).prepare, lambda f: resize(f, SQUASH, 8, 8)):
        with pytest.raises(error, match=words):
            take(frame)


def test_a_real_tensor_is_refused_with_advice():
    """The advice goes by the module's name, so see that it is the right one."""
    torch = pytest.importorskip("torch", reason="needs torch: [export]")
    with pytest.raises(FrameTypeError, match=r"found torch.Tensor; a torch tensor"):
        as_bgr(torch.zeros(3, 4, 4))


def test_grey_becomes_three_equal_channels():
    """With or without a channel axis."""
    grey = noise(7, 9)[:, :, 0]
    for frame in (grey, grey[:, :, None]):
        assert (as_bgr(frame) == grey[:, :, None]).all()
        assert as_bgr(frame).shape == (7, 9, 3)


def test_alpha_is_dropped():
    """Not blended."""
    frame = np.random.default_rng(0).integers(0, 256, (7, 9, 4), dtype=np.uint8)
    assert (as_bgr(frame) == frame[:, :, :3]).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floats_from_0_to_1_are_scaled_and_rounded(dtype):
    """Which undoes a division by 255."""
    frame = noise(16, 16)
    assert (as_bgr((frame / 255).astype(dtype)) == frame).all()


VIEWS = {
    "upside down": lambda a: a[::-1],
    "mirrored": lambda a: a[:, ::-1],
    "RGB": lambda a: a[:, :, ::-1],
    "every other": lambda a: a[::2, ::3],
    "crop": lambda a: a[5:-7, 3:-2],
    "turned": lambda a: a.transpose(1, 0, 2),
    "Fortran": np.asfortranarray,
    "planes": lambda a: np.ascontiguousarray(a.transpose(2, 0, 1)).transpose(1, 2, 0),
    "one column": lambda a: a[:, 4:5],
    "one row": lambda a: a[4:5],
    "repeated row": lambda a: np.broadcast_to(a[:1], a.shape),
    "grey plane": lambda a: a[:, :, 1],
    "grey crop": lambda a: a[3:-3, 2:-5, :1],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
@pytest.mark.parametrize("name", ["pil", "fast"])
def test_a_view_equals_its_copy(view, name):
    """Of any strides; and the frame is not changed."""
    original = drawn(400, 500)
    kept = original.copy()
    frame = view(original)
    expected = resize(np.ascontiguousarray(frame), SQUASH, 96, 96, name)
    assert (resize(frame, SQUASH, 96, 96, name) == expected).all()
    assert (original == kept).all()


@pytest.mark.parametrize("shape", [(480, 640, 3), (224, 224, 3), (480, 640), (480, 640, 4), (9, 9, 1)])
@pytest.mark.parametrize("name", ["pil", "fast"])
def test_a_read_only_frame_serves(shape, name):
    """So nothing ever writes to the caller's array."""
    frame = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    frame.setflags(write=False)
    for dtype in ("uint8", "float32"):
        Preprocessor(contract(dtype), filter=name).prepare(frame)


def test_a_proper_frame_is_not_copied():
    """A crop of a larger frame included: a camera's frame may be megabytes."""
    frame = noise(48, 64)
    assert as_bgr(frame) is frame
    assert np.shares_memory(as_bgr(frame[4:40, 8:50]), frame)


def test_it_loads_neither_pil_nor_torch():
    """In a new process."""
    code = "import sys, ecovision_edge.preprocess; sys.exit(bool({'PIL', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_public_names_are_these():
    """A change of the interface is meant."""
    assert set(preprocess.__all__) == {"MAX_FRAME_SIDE", "Bgr", "Frame", "Preprocessor", "as_bgr", "resize"}
    assert all(hasattr(preprocess, name) for name in preprocess.__all__)
