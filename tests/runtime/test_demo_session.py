"""Facts about what the demo page asks, and about the words and pictures it answers with."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import struct
import threading
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from ecovision_edge.backends.engines import open_model
from ecovision_edge.base.installation import extra_fix
from ecovision_edge.bundle import engines
from ecovision_edge.classifier import Classifier
from ecovision_edge.demo import answer
from ecovision_edge.demo.occlusion import occlude
from ecovision_edge.demo.pictures import (
    MAX_UPLOAD_BYTES,
    data_url,
    decode_upload,
    gradient,
    overlay,
    seen,
    upload_kinds,
)
from ecovision_edge.demo.session import Choice, DemoSession, Look
from ecovision_edge.errors import ArtifactNotFoundError, ImageReadError, InferenceError, IntegrityError
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.simulation.synthetic import draw_frame

RED, BLUE = (np.full((40, 60, 3), c, np.uint8) for c in ((20, 30, 230), (230, 30, 20)))


# The session.


def test_all_artifacts_of_a_bundle_can_be_asked(both):
    session = DemoSession.load(both)
    assert [c.name for c in session.choices] == ["fp32-onnx", "int8-onnx", "fp32-tflite", "int8-tflite"]
    assert [c.reason for c in session.choices] == [""] * 4
    assert session.default == "int8-onnx"
    assert session.name == "tiny"
    for choice in session.choices:
        look = session.look(RED, choice.name)
        assert (look.artifact, look.prediction.label, look.unknown) == (choice.name, "red", False)
        assert look.size == (60, 40)
        assert ("litert" if "tflite" in choice.name else "onnxruntime") in look.engine


def test_the_artifact_to_begin_with_can_be_chosen(both):
    assert DemoSession.load(both, artifact="fp32-tflite", threads=1).default == "fp32-tflite"
    assert DemoSession.load(both, artifact="fp32").default == "fp32-onnx"


def test_an_engine_that_is_not_installed_is_listed_with_the_pip_line(both, monkeypatch):
    def without_litert(model, format, options=None, **others):
        if format == "tflite":
            raise engines_error()
        return open_model(model, format, options, **others)

    def engines_error():
        from ecovision_edge.errors import MissingDependencyError

        return MissingDependencyError("LiteRT is not installed", fix=engines.ENGINES["tflite"].fix)

    monkeypatch.setattr("ecovision_edge.classifier.open_model", without_litert)
    session = DemoSession.load(both)
    reasons = {c.name: c.reason for c in session.choices if c.classifier is None}
    assert set(reasons) == {"fp32-tflite", "int8-tflite"}
    assert extra_fix("litert") in reasons["int8-tflite"]
    page = answer.artifacts_html(session.choices)
    assert "fp32-tflite" in page
    assert "[litert]" in page
    with pytest.raises(ArtifactNotFoundError, match="fp32-tflite"):
        session.look(RED, "fp32-tflite")


def test_a_spoilt_artifact_is_listed_and_refused_to_begin_with(bundle):
    (bundle / "model.fp32.onnx").write_bytes(b"x")
    spoilt = next(c for c in DemoSession.load(bundle).choices if c.name == "fp32-onnx")
    assert spoilt.classifier is None
    assert "not the file that the manifest names" in spoilt.reason
    with pytest.raises(IntegrityError):
        DemoSession.load(bundle, artifact="fp32")


def test_a_lone_model_file_is_the_only_choice(bundle):
    session = DemoSession.load(bundle / "model.fp32.onnx")
    assert [c.name for c in session.choices] == ["model.fp32.onnx"]
    assert session.name == "model.fp32.onnx"
    assert session.look(BLUE, "model.fp32.onnx").prediction.label == "blue"


def test_below_its_threshold_a_label_is_unknown(forge, tmp_path):
    contract = forge.contract(temperature=8.0, thresholds=(0.2, 0.2, 0.99))
    session = DemoSession.load(forge.bundle(tmp_path / "b", contract))
    look = session.look(RED, session.default)
    assert look.prediction.label == "red"
    assert look.threshold == 0.99
    assert look.unknown
    page = answer.answer_html(look, 3, session.contract, "a board")
    assert "Unknown" in page
    assert re.search(r"Most likely <b>red</b>, but \d+ % is below its threshold of 99 %", page)
    assert "calibrated, temperature 8; thresholds are the bundle's" in page
    assert answer.spoken_html(look) == "Unknown"
    assert not session.look(BLUE, session.default).unknown


def test_the_map_is_of_the_label_that_was_given(pristine):
    session = DemoSession.load(pristine)
    where = session.where(RED, "fp32-onnx")
    assert (where.label, where.artifact) == ("red", "fp32-onnx")
    assert where.occlusion.strongest > 0
    assert where.picture.shape == (8, 8, 3)
    figure, legend = answer.where_html(where)
    assert "data:image/png;base64," in figure
    assert f"{where.occlusion.runs} runs of fp32-onnx" in legend


class Crowded:
    """An engine that bears one thread at a time, and says so."""

    engine, threads = "crowded 1.0", 1

    def __init__(self, contract):
        self.contract = contract
        self._inside = threading.Lock()

    def run(self, batch):
        if not self._inside.acquire(blocking=False):
            raise InferenceError("two at once")
        try:
            return batch.reshape(len(batch), -1, 3).mean(axis=1).astype(np.float32)
        finally:
            self._inside.release()


def test_one_thread_at_a_time_has_the_network(forge):
    """Whichever artifact it asks, and while a map is made."""
    engine = Crowded(forge.contract())
    choices = tuple(Choice(n, Classifier(engine, artifact=n)) for n in ("a", "b"))
    session = DemoSession(choices, "a")
    failures = []

    def ask(n):
        try:
            for _ in range(30):
                assert session.look(RED, "ab"[n % 2]).prediction.label == "red"
            session.where(BLUE, "ab"[n % 2])
        except Exception as e:  # noqa: BLE001 - told by the test
            failures.append(e)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []


def test_a_closed_session_ends_a_map_in_its_middle(forge):
    engine = Crowded(forge.contract())
    session = DemoSession((Choice("a", Classifier(engine, artifact="a")),), "a")
    run, calls = engine.run, 0

    def closing(batch):
        nonlocal calls
        calls += 1
        if calls == 5:
            session.close()
        return run(batch)

    engine.run = closing
    with pytest.raises(InferenceError, match="closed"):
        session.where(RED, "a")
    assert calls == 5
    with pytest.raises(InferenceError, match="closed"):
        session.look(RED, "a")


# Pictures in.


def encoded(image, suffix=".png", *options):
    ok, data = cv2.imencode(suffix, image, list(options))
    assert ok
    return data.tobytes()


def saved(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


HALVES = np.zeros((20, 40, 3), np.uint8)
HALVES[:, :20] = (0, 0, 255)  # left red, right blue
HALVES[:, 20:] = (255, 0, 0)


def test_red_stays_red():
    """OpenCV's order, whatever the file's."""
    assert decode_upload(encoded(RED), "x")[5, 5].tolist() == [20, 30, 230]
    rgb = Image.fromarray(RED[..., ::-1])
    assert decode_upload(saved(rgb, "WEBP", lossless=True), "x")[5, 5].tolist() == [20, 30, 230]


def test_a_picture_of_a_telephone_held_upright_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6  # "rotate 90 degrees clockwise to view"
    frame = decode_upload(saved(Image.fromarray(HALVES[..., ::-1]), "JPEG", exif=exif, quality=95), "x")
    assert frame.shape == (40, 20, 3)
    assert frame[5, 10, 2] > 200  # what was left is above
    assert frame[35, 10, 0] > 200


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (saved(Image.fromarray(RED[..., ::-1]).convert("CMYK"), "JPEG", quality=95), [20, 30, 230]),
        (encoded(RED.astype(np.uint16) * 257), [20, 30, 230]),
        (saved(Image.fromarray(np.dstack([RED[..., ::-1], RED[..., 0]])), "PNG"), [20, 30, 230]),
        (saved(Image.fromarray(RED[..., 0]), "PNG"), [20, 20, 20]),
        (saved(Image.fromarray(RED[..., ::-1]).quantize(4), "PNG"), [20, 30, 230]),
        (saved(Image.fromarray(RED[..., ::-1]), "TIFF"), [20, 30, 230]),
    ],
    ids=["CMYK", "16 bits", "alpha", "grey", "palette", "TIFF"],
)
def test_pictures_of_every_kind_are_taken(data, expected):
    frame = decode_upload(data, "x")
    assert frame.dtype == np.uint8
    assert np.abs(frame[5, 5].astype(int) - expected).max() <= 6


def test_the_kinds_that_a_refusal_names_are_those_that_are_taken():
    """GIF is one of them; other kinds that Pillow and OpenCV know are not."""
    with pytest.raises(ImageReadError) as refused:
        decode_upload(b"text", "x")
    named = re.search(r"expected a (.+) or (\w+) image", str(refused.value))
    kinds = (*named[1].split(", "), named[2])
    assert kinds == upload_kinds()
    assert {"JPEG", "PNG", "BMP", "WebP", "TIFF", "GIF"} <= set(kinds)
    picture = Image.fromarray(HALVES[..., ::-1])
    for kind in kinds:
        left, right = (decode_upload(saved(picture, kind), "x")[10, x].astype(int) for x in (5, 35))
        assert np.abs(left - (0, 0, 255)).max() < 20, kind
        assert np.abs(right - (255, 0, 0)).max() < 20, kind
    for kind in ("PPM", "ICO", "TGA"):
        with pytest.raises(ImageReadError, match=f"cannot read x: expected a {kinds[0]}, "):
            decode_upload(saved(picture, kind), "x")
    with pytest.raises(ImageReadError, match=r"cannot decode x: expected a whole JPEG, .*GIF"):
        decode_upload(saved(picture, "PNG")[:50], "x")


def huge_png(width, height):
    """A head that claims so many pixels, in some 60 bytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot read a.png: expected a JPEG.*found an empty file"),
        (b"%PDF-1.7 not a picture", "cannot read a.png: expected a JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "cannot read a.png"),
        (encoded(RED)[:40], "cannot (read|decode) a.png"),
        (huge_png(9000, 9000), "a.png is too large: expected at most 64 megapixels, found 9000 x 9000"),
        (huge_png(2**31 - 1, 2**31 - 1), "a.png is too large: expected at most 64 megapixels"),
        (b"\0" * (MAX_UPLOAD_BYTES + 1), "a.png is too large: expected at most 32 MiB"),
    ],
    ids=["empty", "PDF", "SVG", "cut off", "81 megapixels", "a bomb", "33 MiB"],
)
def test_what_is_no_picture_or_too_large_is_refused_in_one_line(data, message):
    with pytest.raises(ImageReadError, match=message):
        decode_upload(data, "a.png")


# Pictures out.


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_what_the_network_sees_is_shown_as_it_is(forge, dtype):
    """To the level, normalized or not."""
    contract = forge.contract(dtype=dtype)
    classifier = Classifier(Crowded(contract), artifact="a")
    frame = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    assert np.array_equal(seen(classifier.prepare(frame), contract), frame)


def test_the_overlay_is_bright_where_it_mattered_and_grey_elsewhere():
    picture = draw_frame(3, 96, 96)
    drop = np.zeros((96, 96), np.float32)
    drop[60:84, 8:32] = 3.0
    mixed, scale = overlay(picture, drop)
    assert 2 < scale <= 3
    spread = np.ptp(mixed.astype(int), axis=-1)
    assert spread[72, 20] > 60
    assert spread[10, 80] == 0
    assert mixed[72, 20].mean() > mixed[10, 80].mean()


@pytest.mark.parametrize("level", [0.0, -2.0, 0.01])
def test_a_map_in_which_nothing_matters_has_no_bright_place(level):
    picture = np.full((64, 64, 3), 120, np.uint8)
    drop = np.full((64, 64), level, np.float32)
    mixed, scale = overlay(picture, drop)
    assert scale == pytest.approx(0.1)
    assert np.ptp(mixed.astype(int), axis=-1).max() <= (0 if level <= 0 else 15)


def test_the_legend_grows_lighter_from_end_to_end():
    """So that it is read alike by every kind of eye."""
    colors = np.array([[int(c) for c in m.split()] for m in re.findall(r"rgb\(([\d ]+)\)", gradient(17))])
    lightness = colors @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()


def test_a_data_address_holds_the_very_pixels():
    frame = draw_frame(2, 64, 48)
    kind, _, data = data_url(frame).partition(",")
    assert kind == "data:image/png;base64"
    png = np.frombuffer(base64.b64decode(data), np.uint8)
    assert np.array_equal(cv2.imdecode(png, cv2.IMREAD_COLOR), frame)


# Words.


def look(probabilities=(0.7, 0.2, 0.1), labels=("blue", "green", "red"), **changes):
    top = int(np.argmax(probabilities))
    prediction = Prediction(
        labels[top], top, probabilities[top], 0.1, tuple(probabilities), Timings(1.25, 3.14159, 0.1)
    )
    made = Look("int8-onnx", "engine 1", 2, labels, prediction, None, (640, 480), RED)
    return dataclasses.replace(made, **changes)


def test_the_answer_has_label_bars_and_times(forge):
    page = answer.answer_html(look(), 2, forge.contract(), "a board")
    assert re.search(r'eco-word">Blue</span><span class="eco-score">70 %', page)
    assert re.findall(r"width:([\d.]+)%", page) == ["70.00", "20.00"]
    assert "The other class has 10 %." in page
    for text in (
        "1.2 ms",
        "3.1 ms",
        "640 &times; 480",
        "this one picture on this machine (a board; engine 1",
    ):
        assert text in page
    assert "not calibrated" in page


def test_a_score_below_one_half_is_called_unsure(forge):
    page = answer.answer_html(look((0.4, 0.3, 0.3)), 5, forge.contract(), "a board")
    assert "unsure" in page
    assert "The other" not in page


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.0, "0 %"), (0.004, "&lt; 1 %"), (0.5, "50 %"), (0.994, "99 %"), (0.999, "&gt; 99 %"), (1.0, "100 %")],
)
def test_a_percentage_is_never_rounded_to_nothing_or_all(forge, share, text):
    rest = (1 - share) / 2
    page = answer.answer_html(look((share, rest, rest)), 3, forge.contract(), "m")
    assert f'eco-value">{text}<' in page


HOSTILE = '<img src=x onerror="alert(1)">&"'


def test_foreign_words_are_only_words(forge):
    """Labels, names and messages come from bundles and files that nobody vouches for."""
    contract = forge.contract(labels=(HOSTILE, "green", "red"))
    session = DemoSession((Choice(HOSTILE, Classifier(Crowded(contract), artifact=HOSTILE)),), HOSTILE)
    asked = session.look(BLUE, HOSTILE)
    pages = [
        answer.header_html(HOSTILE),
        answer.artifacts_html((Choice(HOSTILE, None, HOSTILE),)),
        answer.error_html(HOSTILE),
        answer.answer_html(dataclasses.replace(asked, engine=HOSTILE), 3, contract, HOSTILE),
        answer.answer_html(dataclasses.replace(asked, threshold=1.1), 3, contract, HOSTILE),
        answer.seen_html(asked),
        answer.spoken_html(asked),
        *answer.where_html(session.where(BLUE, HOSTILE)),
        *answer.nowhere_html(HOSTILE),
    ]
    for page in pages:
        assert "<img src=x" not in page
    assert sum("&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;&quot;" in page for page in pages) == 9


@pytest.mark.parametrize(
    ("strongest", "words"),
    [(0.0, "it stayed as sure"), (0.3, "no place alone decides"), (2.5, "its odds fell to 1/12.")],
)
def test_a_map_says_how_much_it_means(forge, strongest, words):
    contract = forge.contract()
    batch = np.zeros(contract.input.shape(1), np.uint8)
    found = occlude(lambda b: np.array([[3.0, 0.0, 0.0]], np.float32), batch, contract)
    session = DemoSession((Choice("a", Classifier(Crowded(contract), artifact="a")),), "a")
    found = dataclasses.replace(found, strongest=strongest)
    where = dataclasses.replace(session.where(BLUE, "a"), occlusion=found)
    legend = answer.where_html(where)[1]
    assert words in legend
    assert len(re.findall(r"\b1/\d", legend)) == (strongest > 0)  # one: the colours have none
