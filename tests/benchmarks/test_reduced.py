"""Facts about the measurement of JPEG decoded smaller."""

import json

import cv2
import numpy as np
import pytest

from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_bench import reduced


@pytest.fixture
def folder(tmp_path):
    """Three synthetic photographs."""
    for seed in range(3):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), draw_frame(seed, 96, 72))
    return tmp_path


def test_a_line_for_each_size_and_way_and_the_one_that_is_chosen(folder, tmp_path, capsys):
    """Decoding whole is the base; no picture is made smaller than the network's."""
    file = tmp_path / "rows.json"
    command = ["--images", str(folder), "--size", "960x720:90,480x480", "--json", str(file)]
    assert reduced.main(command) == 0
    rows = json.loads(file.read_text())
    assert [(r["width"], r["by"], r["chosen"]) for r in rows] == [
        (960, 1, False),
        (960, 2, True),
        (480, 1, True),
        (480, 2, False),
    ]
    assert all(r["photographs"] == 3 and 0 <= r["flips"] <= 3 for r in rows)
    assert rows[0]["time_ratio"] == 1
    assert np.isclose(rows[1]["left"], 720 / 2 / 224)
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(rows)


@pytest.mark.parametrize("wrong", [["--size", "9x"], ["--size", "9x9:101"], ["--limit", "0"]])
def test_what_cannot_be_measured_is_said(wrong, folder, capsys):
    """One line on standard error."""
    assert reduced.main(["--images", str(folder), *wrong]) != 0
    assert capsys.readouterr().err.startswith("error: ")
