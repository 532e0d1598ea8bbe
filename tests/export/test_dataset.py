"""Listing and choosing photographs, and the export's options."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import pytest

from ecovision_edge.errors import DatasetError, OptionError
from ecovision_edge.photographs.labelled import find_labelled
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export.options import (
    ExportOptions,
    make_contract,
    parse_resize,
    parse_size,
    parse_triple,
    read_labels,
)
from ecovision_edge_export.photographs.dataset import choose, list_photographs
from ecovision_edge_export.weights.checkpoint import Checkpoint

LABELS = ("glass", "metal")


def draw(folder: Path, *names: str) -> Path:
    """Write a small drawn image under each name."""
    for i, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), draw_frame(i, 32, 24))
    return folder


def test_a_folder_a_class_is_labelled_by_name(tmp_path: Path) -> None:
    """Subfolders are the labels, whatever their case; other files are no photographs."""
    draw(tmp_path, "glass/a.jpg", "Metal/b.png", "Metal/deep/c.jpg")
    (tmp_path / "glass" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    draw(tmp_path, ".hidden/d.jpg")
    found = list_photographs(tmp_path, LABELS, "--val")
    assert [(p.name, p.label) for p in found.photographs] == [
        ("Metal/b.png", 1),
        ("Metal/deep/c.jpg", 1),
        ("glass/a.jpg", 0),
    ]
    assert found.labelled


def test_export_and_eval_read_the_same_folders(tmp_path: Path) -> None:
    """Links to class folders, names in any case or encoding, what was passed over: one reader."""
    labels = ("glass", "m\u00e9tal", "Paper", "paper")
    draw(
        tmp_path, "elsewhere/a.jpg", "elsewhere/deep/b.jpe", "photos/ME\u0301TAL/c.png", "photos/Paper/d.png"
    )
    draw(tmp_path, "photos/paper/e.png")
    photos = tmp_path / "photos"
    (photos / "Glass").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (photos / "empty").mkdir()
    (photos / "paper" / "x.heic").touch()
    ours, theirs = list_photographs(photos, labels, "--val"), find_labelled(photos, labels, option="--val")
    expected = [
        ("Glass/a.jpg", 0),
        ("Glass/deep/b.jpe", 0),
        ("ME\u0301TAL/c.png", 1),
        ("Paper/d.png", 2),
        ("paper/e.png", 3),
    ]
    assert [(p.name, p.label) for p in ours.photographs] == expected
    assert [(p.name, p.label) for p in theirs.images] == expected
    assert ours.notes == theirs.notes
    assert len(ours.notes) == 1
    assert "passed over 1 .heic: " in ours.notes[0]
    draw(photos, "PAPER/f.png")
    for read in (list_photographs, lambda *a: find_labelled(*a[:2], option=a[2])):
        with pytest.raises(DatasetError, match="found PAPER"):
            read(photos, labels, "--val")


def test_only_images_of_other_kinds_are_named(tmp_path: Path) -> None:
    """In place of `none`."""
    (tmp_path / "glass").mkdir()
    (tmp_path / "glass" / "a.heic").touch()
    with pytest.raises(DatasetError, match=r"expected JPEG, .*, found none, but 1 \.heic"):
        list_photographs(tmp_path, LABELS, "--val")
    with pytest.raises(DatasetError, match=r"one folder per class of JPEG, .*, found none, but 1 \.heic"):
        find_labelled(tmp_path, LABELS)


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    """Images in the folder itself are taken without labels."""
    found = list_photographs(draw(tmp_path, "a.jpg", "b.jpg"), LABELS, "--val")
    assert [p.label for p in found.photographs] == [None, None]
    assert not found.labelled


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "expected JPEG, PNG, BMP, WebP or TIFF images, found none"),
        (("brown-glass/a.jpg",), "expected folders named as the labels: glass, metal, found brown-glass"),
        (("brown-glass/a.jpg",), "say what they are: --map brown-glass=glass"),
        (("train/glass/a.jpg", "val/glass/a.jpg"), r"found train, val; give one of them: --val .*/train$"),
        (
            ("glass/a.jpg", "b.jpg"),
            "found 1 images beside 1 in subfolders; put each image into the folder of",
        ),
    ],
)
def test_a_folder_that_does_not_fit_is_one_clear_error(
    tmp_path: Path, names: tuple[str, ...], words: str
) -> None:
    """No image, unknown classes, or a mixture."""
    with pytest.raises(DatasetError, match=words):
        list_photographs(draw(tmp_path, *names), LABELS, "--val")
    with pytest.raises(DatasetError, match="no such folder"):
        list_photographs(tmp_path / "none", LABELS, "--val")


def test_folders_of_other_names_are_mapped_or_passed_over(tmp_path: Path) -> None:
    """`mapping` comes before the labels' own names; without labels it only says what is passed over."""
    draw(tmp_path, "glass/a.jpg", "jars/b.jpg", "junk/c.jpg")
    mapping = {"jars": 0, "junk": None, "not-there": 1}
    found = list_photographs(tmp_path, LABELS, "--val", mapping)
    assert [(p.name, p.label) for p in found.photographs] == [("glass/a.jpg", 0), ("jars/b.jpg", 0)]
    found = list_photographs(tmp_path, None, "--calib", mapping)
    assert [p.name for p in found.photographs] == ["glass/a.jpg", "jars/b.jpg"]


def test_what_cannot_be_read_is_not_drawn(tmp_path: Path) -> None:
    """The next ones of the same order take its place."""
    listed = list_photographs(draw(tmp_path, *(f"{i}.jpg" for i in range(8))), None, "--calib")
    order = [p.name for s in choose(listed, 4, seed=3) for p in s.photographs]
    first, others = choose(listed, 3, 3, lambda p: p.name != order[1])
    assert [p.name for p in (*first.photographs, *others.photographs)] == [order[0], *order[2:7]]


def test_the_choice_is_seeded_and_without_replacement(tmp_path: Path) -> None:
    """Same seed, same photographs; the second set has none of the first."""
    listed = list_photographs(draw(tmp_path, *(f"{i:02}.jpg" for i in range(12))), None, "--calib")
    first, others = choose(listed, 4, seed=7)
    assert choose(listed, 4, seed=7) == (first, others)
    assert choose(listed, 4, seed=8) != (first, others)
    names = [p.name for p in (*first.photographs, *others.photographs)]
    assert len(set(names)) == 8
    assert len(choose(listed, 12, seed=0)[1]) == 0


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    """Another byte or another name is another digest."""
    listed = list_photographs(draw(tmp_path, "a.jpg"), None, "--calib")
    before = listed.digest()
    assert listed.digest() == before
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes() + b"\0")
    after = listed.digest()
    assert after != before
    (tmp_path / "a.jpg").rename(tmp_path / "b.jpg")
    assert list_photographs(tmp_path, None, "--calib").digest() not in {before, after}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"precisions": ()}, "--precision"),
        ({"precisions": ("int4",)}, "--precision.*found int4"),
        ({"size": (16, 224)}, "--imgsz.*32 to 1024"),
        ({"calib_size": 0}, "--calib-size"),
        ({"agree": 101.0}, "--agree"),
        ({"max_drop": float("nan")}, "--max-drop"),
        ({"fp32_blocks": 17}, "--fp32-blocks"),
        ({"fp32_blocks": -2}, "--fp32-blocks"),
        ({"resize": "letterbox"}, "--resize.*squash or shortest:PIXELS"),
    ],
)
def test_options_outside_their_range_are_refused(change: dict[str, object], words: str) -> None:
    """Each names the option, what was expected and what was found."""
    with pytest.raises(OptionError, match=words):
        ExportOptions(weights="reference", **change)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "shortest", "shortest:", "shortest:0", "shortest:-3", "squash:3", "²"])
def test_a_resize_that_is_none_is_refused(text: str) -> None:
    """Only `squash` and `shortest:N`."""
    with pytest.raises(OptionError, match="--resize"):
        parse_resize(text, "pil")


def test_sizes_and_triples_are_parsed() -> None:
    """`224`, `192x256`, `0.5,0.5,0.5`; anything else is an error."""
    assert parse_size("224") == (224, 224)
    assert parse_size("192x256") == (192, 256)
    assert parse_triple("--mean", "0.5, 0.25,1") == (0.5, 0.25, 1.0)
    for text in ("", "x", "1x2x3", "2.5", "99999999"):
        with pytest.raises(OptionError, match="--imgsz"):
            parse_size(text)
    for text in ("", "1,2", "1,2,3,4", "a,b,c", "1,2,nan"):
        with pytest.raises(OptionError, match="--mean"):
            parse_triple("--mean", text)


def test_labels_come_from_a_file(tmp_path: Path) -> None:
    """One per line; a byte order mark and empty lines at the end do not matter."""
    path = tmp_path / "labels.txt"
    path.write_bytes("\ufeffverre\nmétal \n\n".encode())
    assert read_labels(path) == ("verre", "métal")
    for data in (b"", b"one", b"a\na\n", b"a\n\nb\n", b"\xff\xfe", b"a\nb\x07\n"):
        path.write_bytes(data)
        with pytest.raises(OptionError, match="labels"):
            read_labels(path)
    with pytest.raises(OptionError, match="--labels"):
        read_labels(tmp_path / "none.txt")


@pytest.mark.slow
def test_labels_have_to_be_as_many_as_the_classes(reference: Checkpoint) -> None:
    """A labels file of another model is refused before anything is traced."""
    with pytest.raises(OptionError, match="expected 10, one for each class of reference, found 2"):
        make_contract(ExportOptions(weights="reference", labels=LABELS), reference)
    for classes in (3, 10):  # ten classes are not EcoVision's for their number
        unnamed = dataclasses.replace(reference, num_classes=classes, labels=None)
        with pytest.raises(OptionError, match="found none; give --labels FILE"):
            make_contract(ExportOptions(weights="reference"), unnamed)


@pytest.mark.slow
def test_a_crop_larger_than_the_resize_is_refused(reference: Checkpoint) -> None:
    """shortest:200 cannot give 224 pixels, whether these were asked for or are the default."""
    with pytest.raises(OptionError, match="at least --imgsz, 224, found 200"):
        ExportOptions(weights="reference", resize="shortest:200", size=(224, 224))
    with pytest.raises(OptionError, match="at least --imgsz, 224, found 200"):
        make_contract(ExportOptions(weights="reference", resize="shortest:200"), reference)
