"""Facts about what a checkpoint says of the photographs that it was trained on."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.errors import CheckpointError, DatasetError, ImageReadError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.photographs.dataset import PhotographSet, list_photographs
from ecovision_edge_export.photographs.decoding import decode_rgb
from ecovision_edge_export.photographs.seen import Seen, Validation, read_validation
from ecovision_edge_export.transcript import Reporter, Transcript

HASHES = st.lists(st.binary(min_size=32, max_size=32), max_size=20)


def photographs(folder: Path, count: int) -> PhotographSet:
    folder.mkdir()
    for i in range(count):
        cv2.imwrite(str(folder / f"{i}.jpg"), draw_frame(i, 32, 24))
    return list_photographs(folder, None, "--val")


def digests(found: PhotographSet) -> list[bytes]:
    return [hashlib.sha256(p.path.read_bytes()).digest() for p in found.photographs]


def judged(found: PhotographSet, seen: Seen | None) -> tuple[Validation, list[str]]:
    warnings: list[str] = []

    class Heard(Reporter):
        def warned(self, message: str) -> None:
            warnings.append(message)

    return read_validation(found, seen, "--val", Transcript(Heard())), warnings


@given(HASHES, HASHES)
def test_what_was_seen_survives_the_metadata(trained: list[bytes], chosen: list[bytes]) -> None:
    seen = Seen().and_of(trained, chosen)
    assert Seen.loads(seen.dumps(), "here") == seen
    assert seen.count_trained(trained) == len(trained)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"schema": 2, "trained": null, "chosen": null}',
        '{"schema": 1, "trained": "AAAA", "chosen": null}',
        '{"schema": 1, "trained": "?", "chosen": null}',
        '{"schema": 1, "trained": 3, "chosen": null}',
        '{"schema": 1, "trained": null, "chosen": null, "more": 1}',
    ],
)
def test_malformed_lists_are_one_typed_error(text: str) -> None:
    with pytest.raises(CheckpointError, match=r"^here") as e:
        Seen.loads(text, "here")
    assert "\n" not in str(e.value)


def test_those_that_were_trained_on_are_left_out_whatever_they_are_called(tmp_path: Path) -> None:
    found = photographs(tmp_path / "a", 5)
    hashes = digests(found)
    (tmp_path / "a" / "0.jpg").rename(tmp_path / "a" / "renamed.jpg")
    found = list_photographs(tmp_path / "a", None, "--val")
    validation, warnings = judged(found, Seen().and_of(hashes[:2], hashes[2:3]))
    assert [p.name for p in validation.photographs.photographs] == ["2.jpg", "3.jpg", "4.jpg"]
    assert (validation.trained_on, validation.chosen_on) == (0, 1)
    assert warnings == [
        "the weights were trained on 2 of the 5 photographs of --val: these are left out, the other 3 judge"
    ]


def test_where_all_were_trained_on_they_judge_and_it_is_told(tmp_path: Path) -> None:
    found = photographs(tmp_path / "a", 3)
    validation, warnings = judged(found, Seen().and_of(digests(found), ()))
    assert len(validation.photographs) == validation.trained_on == 3
    assert warnings == ["the weights were trained on all of --val: agreement and accuracy are flattered"]


def test_a_checkpoint_that_says_nothing_claims_nothing(tmp_path: Path) -> None:
    validation, warnings = judged(photographs(tmp_path / "a", 2), None)
    assert (validation.trained_on, validation.chosen_on, warnings) == (None, None, [])
    assert set(validation.to_json()) == {"digest"}


def test_what_one_side_cannot_decode_is_told_and_left_out(tmp_path: Path) -> None:
    found = photographs(tmp_path / "a", 2)
    whole = (tmp_path / "a" / "0.jpg").read_bytes()
    (tmp_path / "a" / "torn.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a" / "empty.png").write_bytes(b"")
    validation, warnings = judged(list_photographs(tmp_path / "a", None, "--val"), None)
    assert validation.photographs == found
    assert [w.startswith("left out: ") for w in warnings] == [True, True]
    for path in tmp_path.glob("a/[01].jpg"):
        path.unlink()
    with pytest.raises(
        DatasetError, match="--val: expected a photograph that can be read, found 2 that cannot"
    ):
        judged(list_photographs(tmp_path / "a", None, "--val"), None)


def test_a_photograph_of_too_many_pixels_is_not_decoded_by_pil_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its head is read, and no more; nor is one of a kind that starts another program."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 12_000, 12_000, 1, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    png += struct.pack(">I4sI", 0, b"IDAT", zlib.crc32(b"IDAT"))
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", None)  # its own warning comes first
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(
        ImageReadError, match="x is too large: expected at most 120 megapixels, found 12000 x 12000"
    ):
        decode_rgb(png, "x")
    with pytest.raises(ImageReadError, match="cannot decode x: expected an image, found not an image"):
        decode_rgb(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "x")
