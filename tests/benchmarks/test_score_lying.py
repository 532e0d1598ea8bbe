"""Facts about the tool that measures what laying straight is worth."""

import cv2
import numpy as np
import pytest

from ecovision_edge.errors import OptionError
from ecovision_edge_bench.score.lying import covered, lay_down, main


@pytest.mark.parametrize(
    ("right", "risk", "share"),
    [
        ([True] * 4, 0.03, 1.0),
        ([False] * 4, 0.03, 0.0),
        ([True, True, False, True], 0.03, 0.5),
        ([True, True, False, True], 0.25, 1.0),  # one of four is wrong
        ([False, True, True, True], 0.24, 0.0),
        ([False, True, True, True], 0.25, 1.0),
    ],
)
def test_what_can_be_decided_is_counted_from_the_surest(right, risk, share):
    """As many as there are, with at most so many wrong; in whatever order they come."""
    sure = np.array([0.9, 0.8, 0.7, 0.6])
    assert covered(np.array(right), sure, risk) == share
    assert covered(np.array(right)[::-1], sure[::-1], risk) == share


def test_a_photograph_is_laid_on_a_tray_whole_or_cut_loose():
    """In the middle, turned counter-clockwise, of the size that was asked for; the tray is the same."""
    picture = np.zeros((60, 120, 3), np.uint8)
    picture[:, 60:] = (0, 0, 250)  # its right half is red
    item = np.zeros((60, 120), np.uint8)
    item[20:40, 70:110] = 255
    for shape, share in ((None, 120 * 60), (item, 20 * 40)):
        frame, empty = lay_down(picture, shape, 120, 90, np.random.default_rng(1))
        assert frame.shape == empty.shape == (240, 320, 3)
        changed = np.abs(frame.astype(int) - empty).max(axis=2) > 20
        assert changed.sum() == pytest.approx(share, rel=0.05)
        red = frame[..., 2].astype(int) - frame[..., 0] > 100
        assert red[:118].sum() > 0.9 * red.sum() > 0  # what was to the right is above
    again, _ = lay_down(picture, item, 120, 90, np.random.default_rng(1))
    assert np.array_equal(frame, again)


@pytest.fixture
def drawn(tmp_path):
    """Two classes of things before a plain background."""
    for label, colour in (("paper", (250, 250, 250)), ("glass", (40, 160, 40))):
        for n in range(2):
            picture = np.full((90, 120, 3), 200, np.uint8)
            cv2.rectangle(picture, (30 - 10 * n, 30), (90, 60), colour, -1)
            (tmp_path / label).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / label / f"{n}.png"), picture)
    return tmp_path


def test_each_kind_is_classified_in_both_ways(drawn, capfd):
    """By the embedded model: four rows, the same for the same seed."""
    arguments = ["--photographs", str(drawn), "--items", "2", "--seed", "3"]
    main(arguments)
    out = capfd.readouterr().out
    rows = out.splitlines()[1:]
    assert [row.split("  ")[0] for row in rows] == ["whole", "whole", "cut loose", "cut loose"]
    assert {row.count("%") for row in rows} == {3}
    main(arguments)
    assert capfd.readouterr().out == out


@pytest.mark.parametrize(("option", "value"), [("--items", "0"), ("--longest", "5"), ("--longest", "999")])
def test_what_is_out_of_range_is_refused(drawn, option, value):
    """By its name."""
    with pytest.raises(OptionError, match=option):
        main(["--photographs", str(drawn), option, value])
