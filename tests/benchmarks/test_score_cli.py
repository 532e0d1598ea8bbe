"""Facts about `ecovision-edge score`: recordings replayed by their own clock, events from a file, limits."""

import json
import shutil

import cv2
import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.camera.scene import Scene
from ecovision_edge.cli.app import main
from ecovision_edge.decision import DeciderOptions
from ecovision_edge.errors import OptionError, RecordError
from ecovision_edge.events import BinState, StateMessage
from ecovision_edge.photographs.images import read_image
from ecovision_edge.recording import read_recording
from ecovision_edge.simulation.composed import compose
from ecovision_edge.simulation.script import Empty, Item, Script
from ecovision_edge.simulation.script_file import dump_script, load_script
from ecovision_edge.simulation.truth import Truth, TruthError
from ecovision_edge_bench.score import cli as score_cli
from ecovision_edge_bench.score import compose as compose_tool
from ecovision_edge_bench.score import drawn as drawn_tool
from ecovision_edge_bench.score import gates as gates_tool
from ecovision_edge_bench.score.drawn import scene_frames, scene_truth
from ecovision_edge_bench.score.measuring import Judge
from ecovision_edge_bench.score.recording import write_recording
from ecovision_edge_bench.score.replay import open_replay, read_events
from ecovision_edge_bench.score.run import default_rules, make_decider

pytestmark = pytest.mark.slow

SCRIPT = Script(
    steps=(
        Empty(1.6),
        Item(label="glass", stays=4.5),
        Empty(1.2),
        Item(label="shoes", stays=4.5),
        Empty(1.0),
    ),
    seed=5,
    fps=15,  # what `run` takes the frames of a folder for
    width=160,
    height=120,
)
RULES = """
schema = 1
name = "two bins"
default = "rest"
[bins]
good = ["paper", "cardboard", "glass", "metal", "plastic", "shoes", "clothes"]
rest = ["trash", "battery", "biological"]
"""


@pytest.fixture(scope="module")
def classifier():
    return Classifier.load(threads=1)


@pytest.fixture(scope="module")
def composed():
    return compose(SCRIPT)


@pytest.fixture(scope="module")
def recorded(composed, classifier, tmp_path_factory):
    """A recording with its truth; nobody writes into it."""
    folder = tmp_path_factory.mktemp("score") / "recording"
    write_recording(folder, composed, classifier)
    return folder


@pytest.fixture
def cli(capfd):
    """Run the command; status, output, errors."""

    def run(*arguments):
        status = main(["score", *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return run


@pytest.fixture
def rules(tmp_path):
    path = tmp_path / "rules.toml"
    path.write_text(RULES)
    return path


def scored(cli, *arguments):
    status, out, err = cli(*arguments, "--json", "-")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_a_recording_holds_the_frames_their_times_and_the_truth(recorded, composed, classifier):
    frames = list(read_recording(recorded))
    assert len(frames) == len(composed)
    for n in (0, 20, len(composed) - 1):
        assert np.array_equal(read_image(frames[n].path), composed.frame(n))
        assert frames[n].result.captured_at == composed.time(n)
    assert Truth.load(recorded / "truth.json") == composed.truth
    assert load_script((recorded / "script.json").read_bytes()) == SCRIPT
    with pytest.raises(RecordError, match="a recording; delete it, also where it was begun only"):
        write_recording(recorded, composed, classifier)


def test_a_replay_scores_what_the_sequence_scored(cli, recorded, composed, classifier):
    """The events are those of the frames in memory, each time."""
    judge = Judge(classifier, default_rules(classifier.labels))
    expected = judge.score(((frame.image, frame.at_s) for frame in composed), composed.truth)
    first = scored(cli, "--recording", recorded, "--truth", recorded / "truth.json", "--threads", "1")
    assert first == scored(cli, "--recording", recorded, "--threads", "1")
    events = [event for one in expected.items for event in one.events]
    told = [event for one in first["each_item"] for event in one["events"]]
    assert [(e["at_s"], e["label"], e["bin"]) for e in told] == [(e.at_s, e.label, e.bin) for e in events]
    assert first["found"] == expected.found == 2
    assert (first["doubled"], first["false"]) == (0, 0)


def test_as_recorded_nothing_is_classified(cli, recorded, monkeypatch):
    """And the score is the same."""
    again = scored(cli, "--recording", recorded, "--threads", "1")

    def refuse(self, frame):
        raise AssertionError("classified")

    monkeypatch.setattr(Classifier, "classify", refuse)
    replayed = scored(cli, "--recording", recorded, "--as-recorded")
    assert replayed["each_item"] == again["each_item"]
    assert replayed["by"]["as_recorded"] is True


def test_times_are_those_of_the_recording_whatever_its_clock_began_at(recorded, tmp_path):
    """A recorder's `time.monotonic()` begins anywhere, and frames are missing."""
    folder = tmp_path / "later"
    shutil.copytree(recorded, folder)
    for sidecar in sorted(folder.glob("0*.json"))[5:10]:
        sidecar.with_suffix(".png").unlink()
        sidecar.unlink()
    for sidecar in folder.glob("0*.json"):
        value = json.loads(sidecar.read_bytes())
        value["captured_at"] += 1000.0
        sidecar.write_bytes((json.dumps(value, indent=2) + "\n").encode())
    times = [at for _, at in open_replay(folder, None).frames()]
    assert times[:6] == pytest.approx([n / 15 for n in (0, 1, 2, 3, 4, 10)])


def test_pictures_without_times_and_videos_need_fps(cli, composed, tmp_path):
    folder, video = tmp_path / "pictures", tmp_path / "video.avi"
    folder.mkdir()
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 15, (160, 120))
    for n, frame in enumerate(composed):
        cv2.imwrite(str(folder / f"{n:04}.png"), frame.image)
        writer.write(frame.image)
    writer.release()
    truth = tmp_path / "truth.json"
    truth.write_bytes(composed.truth.dumps())
    for source in (folder, video):
        assert scored(cli, "--recording", source, "--truth", truth, "--fps", "15")["found"] == 2
        status, _, err = cli("--recording", source, "--truth", truth)
        assert (status, "--fps" in err) == (2, True)
    status, _, err = cli("--recording", folder, "--truth", truth, "--fps", "10", "--as-recorded")
    assert (status, "sidecars" in err) == (2, True)


def test_the_tables_are_printed_and_the_same_each_time(cli, recorded, rules):
    status, out, err = cli("--recording", recorded, "--bin", rules, "--as-recorded")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == f"{recorded}, by the decider"
    assert lines[1].split()[:2] == ["items", "2"]
    assert any(line.split()[:2] == ["found", "2"] for line in lines)
    assert any(line.split()[:2] == ["glass", "1"] for line in lines)
    assert cli("--recording", recorded, "--bin", rules, "--as-recorded")[1] == out


# Events that were kept.


def event_line(at, label="glass", bin="good", **changes):
    value = {"schema_version": 1, "monotonic": at, "label": label, "bin": bin, "reason": "because", **changes}
    return json.dumps(value)


def test_events_of_a_sink_are_scored_without_a_model(cli, recorded, rules, tmp_path):
    events = tmp_path / "events.jsonl"
    events.write_text(f"{event_line(3.0)}\n\n{event_line(9.0, None, 'rest')}\n{event_line(14.99)}\n")
    arguments = ("--events", events, "--bin", rules)
    found = scored(cli, *arguments, "--truth", recorded / "truth.json")
    assert (found["found"], found["verdicts"]["right"], found["verdicts"]["unknown"]) == (2, 1, 1)
    assert found["false"] + found["doubled"] == 1
    assert scored(cli, *arguments, "--recording", recorded)["each_item"] == found["each_item"]


def test_states_among_the_events_of_a_sink_are_passed_over(tmp_path):
    """The sink `file:` writes them too, with `states=1`."""
    lines = [
        StateMessage(id=state.value, state=state, reason="why", time=2.0, since=1.0).dumps()
        for state in BinState
    ]
    events = tmp_path / "events.jsonl"
    events.write_text("\n".join([*lines[:2], event_line(3.0), *lines[2:]]))
    assert [decision.at_s for decision in read_events(events, 0.0)] == [3.0]


def test_events_of_a_live_bin_are_timed_from_the_first_frame(recorded, tmp_path):
    events = tmp_path / "events.jsonl"
    events.write_text(event_line(1003.5))
    (decision,) = read_events(events, 1000.0)
    assert (decision.at_s, decision.label, decision.bin, decision.reason) == (3.5, "glass", "good", "because")


def test_what_the_decider_says_can_be_kept_and_scored(cli, recorded, rules, tmp_path, capfd):
    """`run --bin --sink file:` over the recording, then `score --events`: the whole way round."""
    events = tmp_path / "events.jsonl"
    arguments = ["--source", str(recorded), "--bin", str(rules), "--output", "none"]
    assert main(["run", *arguments, "--sink", f"file:{events}"]) == 0
    capfd.readouterr()
    kept = scored(cli, "--events", events, "--truth", recorded / "truth.json", "--bin", rules)
    replayed = scored(cli, "--recording", recorded, "--bin", rules)
    assert kept["found"] == replayed["found"] == 2
    for a, b in zip(kept["each_item"], replayed["each_item"], strict=True):
        # `run` has counted frames in place of times, which is the same here.
        assert a["events"][0]["at_s"] == pytest.approx(b["events"][0]["at_s"], abs=0.07)


# Limits and misuse.


@pytest.mark.parametrize(
    ("limits", "status", "told"),
    [
        ([], 0, ""),
        (["--max-missed", "0", "--max-doubled", "0", "--max-false", "0"], 1, "missed 1, at most 0 allowed"),
        (["--max-missed", "1"], 0, ""),
        (["--max-false", "0"], 1, "false 1, at most 0 allowed"),
        (["--max-wrong-bin", "0"], 1, "wrong-bin 1, at most 0 allowed"),
    ],
)
def test_the_exit_status_is_1_only_where_a_limit_is_exceeded(
    cli, recorded, rules, tmp_path, limits, status, told
):
    events = tmp_path / "events.jsonl"
    events.write_text(f"{event_line(3.0, 'trash', 'rest')}\n{event_line(0.5)}\n")
    arguments = ("--events", events, "--truth", recorded / "truth.json", "--bin", rules)
    found, _, err = cli(*arguments, *limits)
    assert found == status
    assert told in err if told else err == ""


def test_it_decides_as_the_rules_say(cli, recorded, rules, monkeypatch):
    """The command line comes first; by the picture, for a recording has no trigger."""
    judges = []

    def stop(replay, known, judge, as_recorded):
        judges.append(judge)
        raise OptionError("enough")

    monkeypatch.setattr(score_cli, "_of_replay", stop)
    with rules.open("a") as stream:
        stream.write('\n[decision]\nsettle = "1s"\ndecide_within = 9\ntrigger = "gpio:4"\n')
    cli("--recording", recorded, "--bin", rules, "--decide-within", "2s")
    [judge] = judges
    told = make_decider(judge.classifier, judge.rules, judge.options)
    assert told._judge._options == DeciderOptions(settle=1, decide_within=2)
    alone = make_decider(judge.classifier, judge.rules)
    assert alone._judge._options == DeciderOptions(settle=1, decide_within=9)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--recording"),
        (["--events", "{events}"], "--recording"),
        (["--events", "{events}", "--recording", "{recording}"], "--bin"),
        (
            ["--events", "{events}", "--recording", "{recording}", "--bin", "{rules}", "--one-frame"],
            "--one-frame",
        ),
        (["--recording", "{recording}", "--as-recorded", "--one-frame"], "--one-frame"),
        (["--recording", "{recording}", "--max-missed", "-1"], "--max-missed"),
        (["--recording", "{recording}", "--grace", "soon"], "--grace"),
        (["--recording", "{recording}", "--debounce", "2h"], "debounce"),
        (["--recording", "{recording}", "--decide-within", "0"], "decide_within"),
        (["--recording", "{recording}", "--fps", "10"], "--fps"),
        (["--recording", "{recording}", "--truth", "{events}"], "expected"),
        (["--recording", "{recording}", "--truth", "nowhere.json"], "nowhere.json"),
        (["--recording", "{recording}", "--json", "{recording}"], "--json"),
        (["--recording", "{recording}", "--bin", "nowhere.toml"], "nowhere.toml"),
    ],
)
def test_misuse_is_one_line_and_status_2(cli, recorded, rules, tmp_path, arguments, told):
    events = tmp_path / "events.jsonl"
    events.write_text(event_line(3.0))
    named = {"events": events, "recording": recorded, "rules": rules}
    status, out, err = cli(*(argument.format(**named) for argument in arguments))
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_recording_without_a_truth_names_the_option(cli, recorded, tmp_path):
    """As what `run --record` writes: nobody but the user knows what lay there."""
    folder = tmp_path / "recording"
    shutil.copytree(recorded, folder)
    (folder / "truth.json").unlink()
    status, _, err = cli("--recording", folder)
    assert (status, err.count("\n")) == (2, 1)
    assert f"--truth: expected a file that says what lay there and when, or {folder}/truth.json" in err


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "events.jsonl:2"),
        (event_line(3.0, schema_version=2), "schema_version"),
        (event_line("soon"), "monotonic"),
        (event_line(3.0, bin=None), "bin"),
        (event_line(3.0, label=3), "label"),
        (event_line(3.0, bin="attic"), "attic"),
    ],
)
def test_a_malformed_event_is_one_line_with_its_place(cli, recorded, rules, tmp_path, line, told):
    events = tmp_path / "events.jsonl"
    events.write_text(f"{event_line(1.0)}\n{line}\n")
    status, _, err = cli("--events", events, "--truth", recorded / "truth.json", "--bin", rules)
    assert (status, err.count("\n"), told in err) == (2, 1, True)


def test_the_truth_of_another_recording_is_refused(cli, recorded, tmp_path):
    truth = json.loads((recorded / "truth.json").read_bytes())
    truth["items"].append({"id": 9, "label": "paper", "arrives_s": 99, "leaves_s": 104})
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    arguments = ("--recording", recorded, "--truth", tmp_path / "truth.json", "--as-recorded")
    status, _, err = cli(*arguments)
    assert (status, "item 9 of the truth arrives at 99 s" in err) == (2, True)
    truth["items"][-1] = {**truth["items"][-1], "label": "papier", "arrives_s": 13.9, "leaves_s": 14}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    status, _, err = cli(*arguments)
    assert (status, "found papier" in err) == (2, True)


def test_a_recording_of_two_runs_is_refused(recorded, tmp_path):
    folder = tmp_path / "two"
    shutil.copytree(recorded, folder)
    last = sorted(folder.glob("0*.json"))[-1]
    value = json.loads(last.read_bytes())
    value["captured_at"] = 0.05
    last.write_bytes((json.dumps(value, indent=2) + "\n").encode())
    with pytest.raises(RecordError, match="one run"):
        list(open_replay(folder, None).frames())


def test_what_was_recorded_with_other_classes_is_refused(recorded):
    with pytest.raises(RecordError, match="--as-recorded"):
        list(open_replay(recorded, None).frames(("paper", "glass")))


def test_nothing_to_replay_is_said_so(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(RecordError, match="nothing to replay"):
            open_replay(path, None)
    with pytest.raises(OptionError, match="--fps"):
        open_replay(tmp_path, 0)


def test_a_file_of_events_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(TruthError, match="cannot read"):
        read_events(tmp_path / "events.jsonl", 0.0)


# The developers' tools.


def test_the_truth_of_the_drawn_tray_is_that_of_its_scene():
    scene = Scene(3)
    truth = scene_truth(scene, 2)
    for at in (one.rests_s + 0.5 for one in truth.items):
        assert scene.item(round(at * 15)) == next(i.label for i in truth.items if i.rests_s < at < i.leaves_s)
    frames = list(scene_frames(scene, truth))
    assert len(frames) == round(truth.seconds * 15)
    assert frames[-1][1] == pytest.approx(truth.seconds, abs=0.1)


def test_the_tools_print_tables(capfd, tmp_path, recorded):
    drawn_tool.main(["--items", "1"])
    assert capfd.readouterr().out.startswith("synthetic, 1 items, seed 1, by the decider\nitems")
    script = tmp_path / "script.json"
    script.write_bytes(dump_script(Script(steps=(Empty(1.5), Item(label="glass", stays=1.0)), fps=10)))
    compose_tool.main(["--script", str(script), "--one-frame", "--json", str(tmp_path / "s.json")])
    assert "by single frames" in capfd.readouterr().out
    assert json.loads((tmp_path / "s.json").read_bytes())["items"] == 1
    compose_tool.main(["--script", str(script), "--turn", "1.5", "--out", str(tmp_path / "new")])
    assert (tmp_path / "new" / "truth.json").exists()
    assert load_script((tmp_path / "new" / "script.json").read_bytes()).turn == 1.5
    gates_tool.main(["--items", "1", "--only", "a hand passes"])
    head, row = capfd.readouterr().out.splitlines()[-2:]
    assert head.split() == ["trial", "items", "found", "missed", "doubled", "false"]
    assert row.split()[-5:-1] == ["-"] * 4


@pytest.mark.parametrize(
    ("tool", "arguments", "told"),
    [
        (compose_tool, ["--items", "0"], "--items"),
        (compose_tool, ["--seed", "-1"], "--seed"),
        (compose_tool, ["--size", "big"], "--size"),
        (compose_tool, ["--turn", "4"], "turn"),
        (compose_tool, ["--fps", "0"], "fps"),
        (gates_tool, ["--only", "earthquake"], "--only"),
    ],
)
def test_misuse_of_a_tool_is_refused(tool, arguments, told):
    with pytest.raises(OptionError, match=told):
        tool.main(arguments)


def test_things_of_a_script_become_photographs_of_their_class(capfd, tmp_path):
    """One after the other, none twice; and a class that has none is refused."""
    for label in ("glass", "paper"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for n in range(2):
            picture = np.full((32, 32, 3), 60 * n + 90, np.uint8)
            cv2.imwrite(str(tmp_path / "photos" / label / f"{n}.png"), picture)
    script = tmp_path / "script.json"
    steps = (Item(label="glass", stays=0.1), Item(label="glass", stays=0.1), Empty(0.1))
    script.write_bytes(dump_script(Script(steps=steps, fps=5, width=64, height=64)))
    arguments = ["--script", str(script), "--photographs", str(tmp_path / "photos")]
    compose_tool.main([*arguments, "--out", str(tmp_path / "made")])
    made = load_script((tmp_path / "made" / "script.json").read_bytes())
    pictures = [step.picture for step in made.steps if isinstance(step, Item)]
    assert len(set(pictures)) == 2
    assert all("/photos/glass/" in picture for picture in pictures)
    script.write_bytes(dump_script(Script(steps=(Item(label="shoes"),))))
    with pytest.raises(OptionError, match="found shoes"):
        compose_tool.main(arguments)


def test_photographs_are_composed_and_found(photographs, classifier, tmp_path):
    """Real ones, of which nothing is kept."""
    things = compose_tool.ordinary_things(photographs / "val", classifier.labels, 3, 2)
    steps = [Empty(1.6)]
    for label, picture in things:
        steps += [Item(label=label, picture=picture), Empty(1.5)]
    made = compose(Script(steps=tuple(steps), seed=2))
    judge = Judge(classifier, default_rules(classifier.labels))
    found = judge.score(((frame.image, frame.at_s) for frame in made), made.truth)
    assert (found.found, found.doubled, len(found.false)) == (3, 0, 0)
