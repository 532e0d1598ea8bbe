"""`demo:?script=FILE`."""

import json

import numpy as np
import pytest

from ecovision_edge.camera import open_source
from ecovision_edge.camera.scripted import ScriptSource
from ecovision_edge.cli import main
from ecovision_edge.decision import BinDecider
from ecovision_edge.errors import SourceError, SourceOpenError
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.simulation.composed import compose
from ecovision_edge.simulation.synthetic import ITEM_KINDS

STEPS = [
    {"do": "empty", "seconds": 1.5},
    {"do": "item", "label": "glass", "comes": "hand", "stays": 3.5},
    {"do": "hand", "rests": 0.3},
    {"do": "empty", "seconds": 1.0},
]


def write_script(folder, steps=None, **changes):
    path = folder / "a script.json"
    document = {
        "schema": "ecovision-edge/tray-script",
        "schema_version": 1,
        "fps": 10,
        "width": 160,
        "height": 120,
        "steps": STEPS if steps is None else steps,
        **changes,
    }
    path.write_text(json.dumps(document))
    return path


def frames_of(source):
    stream = source.connect()
    found = []
    while (frame := stream.read()) is not None:
        found.append(frame)
    stream.close()
    return found


def test_the_frames_are_those_of_the_script_and_the_same_each_time(tmp_path):
    source = open_source(f"demo:?script={write_script(tmp_path)}")
    assert isinstance(source, ScriptSource)
    assert (source.live, source.interval, source.name) == (False, 0.1, "demo")
    first, second = frames_of(source), frames_of(source)
    assert len(first) == len(compose(source.script)) > 60
    assert first[0].shape == (120, 160, 3)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[10], first[35])  # nothing there, and something


def test_what_lies_there_is_decided_once_and_within_its_time(tmp_path):
    source = open_source(f"demo:?script={write_script(tmp_path)}")
    rest = 0.01
    glass = 1 - rest * (len(ITEM_KINDS) - 1)
    rows = tuple(glass if kind == "glass" else rest for kind in ITEM_KINDS)
    prediction = Prediction(
        "glass", ITEM_KINDS.index("glass"), glass, glass - rest, rows, Timings(1.0, 2.0, 0.1)
    )
    decider = BinDecider(ITEM_KINDS, None, classify=lambda frame: prediction)
    events = [
        (n / 10, event)
        for n, frame in enumerate(frames_of(source))
        if (event := decider.step(frame, n / 10)) is not None
    ]
    (item,) = source.truth().items
    ((at, event),) = events
    assert event.label == "glass" == item.label
    assert item.arrives_s < at < item.leaves_s


def test_a_script_begins_again_where_that_is_asked_for(tmp_path):
    path = write_script(tmp_path, [{"do": "empty", "seconds": 0.3}])
    stream = open_source(f"demo:?script={path}&loop=1&mirror=1").connect()
    frames = [stream.read() for _ in range(7)]
    assert np.array_equal(frames[0], frames[3])
    assert np.array_equal(frames[1], frames[4])


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({"fps": 0}, "", r"the script of demo: .*fps"),
        ({"steps": [{"do": "dance"}]}, "", r"the script of demo: .*steps\[0\]"),
        ({"schema_version": 2}, "", "upgrade"),
        ({}, "&frames=3", "unknown option of demo"),
    ],
)
def test_a_script_that_is_none_is_told_in_one_line(tmp_path, change, options, told):
    path = write_script(tmp_path, **change)
    with pytest.raises(SourceError, match=told) as caught:
        open_source(f"demo:?script={path}{options}")
    assert "\n" not in caught.value.message


def test_a_missing_script_and_a_missing_picture_are_told(tmp_path, capsys):
    assert main(["run", "--source", f"demo:?script={tmp_path / 'none.json'}"]) == 2
    assert "No such file" in capsys.readouterr().err
    path = write_script(tmp_path, [{"do": "item", "label": "glass", "picture": str(tmp_path / "no.jpg")}])
    with pytest.raises(SourceOpenError, match=r"no\.jpg"):
        open_source(f"demo:?script={path}").connect()


@pytest.mark.slow
def test_it_runs_as_a_bin(tmp_path, capfd):
    rules = tmp_path / "rules.toml"
    rules.write_text(
        'schema = 1\nname = "one"\ndefault = "all"\n[bins]\nall = ["battery", "biological", "cardboard", '
        '"clothes", "glass", "metal", "paper", "plastic", "shoes", "trash"]\n'
    )
    path = write_script(tmp_path, fps=60)
    command = ["run", "--source", f"demo:?script={path}", "--bin", str(rules), "--output", "none"]
    assert main([*command, "--sink", "stdout:"]) == 0
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [event["bin"] for event in events] == ["all"]
