"""Facts about what a fleet asks of its web server: one device of a real nginx, all by their timetable."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runtime.publishers import cheap_passphrases

from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import MissingDependencyError, ServeError
from ecovision_edge_bench.fleet import updates
from ecovision_edge_bench.fleet.arrivals import Cut, busiest, histogram, questions
from ecovision_edge_bench.fleet.asking import Visit
from ecovision_edge_bench.fleet.load import Load, run_load
from ecovision_edge_bench.fleet.nginx import Asked, read_log
from ecovision_edge_bench.fleet.queue import Queue, serve
from ecovision_edge_bench.fleet.updates import Measured, main, measure, simulate

SPREAD = 900.0  # seconds over which `updates.timetable` spreads those who are due as they start
EVERY = 6 * 3600.0
DEVICES = 900

VISITS = (
    Visit(
        "everything is new", (Asked(1, 100, 404, 300, "/metadata/2.root.json"), Asked(1, 90, 200, 5000, "/a"))
    ),
    Visit("nothing is new", (Asked(2, 100, 404, 300, "/metadata/2.root.json"), Asked(2, 99, 200, 600, "/b"))),
)
MEASURED = Measured(
    "1.22.1",
    VISITS,
    ((Load(10, 20, 0.5, 0.2),), (Load(20, 40, 0.5, 0.1), Load(20, 40, 0.4, 0.08), Load(20, 40, 1.0, 0.06))),
)


@pytest.mark.slow
@pytest.mark.usefixtures(cheap_passphrases.__name__)
def test_a_device_asks_nginx_for_what_is_new_alone(tmp_path: Path) -> None:
    """Each visit has one connection; the load sends the same requests, byte for byte, or it raises."""
    try:
        measured = measure(tmp_path, embedded_bundle_path(), devices=3, seconds=60.0, rounds=2)
    except MissingDependencyError as e:
        pytest.skip(str(e))
    everything, nothing, new = measured.visits
    assert [one.path for one in nothing.asked] == ["/metadata/2.root.json", "/metadata/timestamp.json"]
    assert [one.status for one in nothing.asked] == [404, 200]
    files = [[one.path for one in v.asked if one.path.startswith("/targets/files/")] for v in measured.visits]
    assert [len(paths) for paths in files] == [4, 0, 1]
    assert set(files[2]).isdisjoint(files[0])
    assert [v.connections for v in measured.visits] == [1, 1, 1]
    size = sum(path.stat().st_size for path in embedded_bundle_path().iterdir())
    assert nothing.sent < 2_000 < new.sent < 100_000 < size < everything.sent < size + 20_000
    rounds = [(load.visits, load.requests) for loads in measured.loads for load in loads]
    assert rounds == [(3, 3 * len(v.asked)) for v in measured.visits for _ in range(2)]


def test_devices_that_are_due_as_the_power_is_back_ask_within_a_quarter_of_an_hour() -> None:
    """At a time of their own: each minute has about as many as another, and one second only a few."""
    times = list(questions(Cut(DEVICES, EVERY, off=EVERY), SPREAD))
    assert len(times) == DEVICES
    minutes = histogram(times, 60.0)
    assert len(minutes) == 15
    assert 30 < min(minutes) <= max(minutes) < 100
    assert busiest(times) <= 8
    assert list(questions(Cut(DEVICES, EVERY, off=EVERY), 0.8 * EVERY)) == times


def test_devices_of_one_name_are_spread_over_a_quarter_of_that() -> None:
    """By chance alone."""
    times = sorted(questions(Cut(DEVICES, EVERY, off=EVERY, one_name=True), SPREAD))
    assert len(times) == DEVICES
    gaps = [b - a for a, b in zip(times, [*times[1:], times[0] + SPREAD], strict=True)]
    assert SPREAD - max(gaps) < SPREAD / 4  # all but one gap, as the last may lie beyond the end
    assert busiest(times) <= 16


def test_after_a_short_cut_nobody_asks_before_it_is_due() -> None:
    """The quarter of an hour that follows has no more of them than any other."""
    times = list(questions(Cut(DEVICES, EVERY, off=600.0), EVERY))
    quarters = histogram(times, SPREAD)
    assert quarters[0] < 3 * DEVICES * (600.0 + SPREAD) / EVERY
    assert busiest(times) <= 4


def test_who_finds_the_server_away_asks_again_sooner() -> None:
    """Still apart from the others."""
    cut = Cut(DEVICES, EVERY, off=EVERY, away=SPREAD)
    times = list(questions(cut, SPREAD + 0.2 * EVERY))
    assert len(times) == 2 * DEVICES
    assert busiest(times) <= 8
    again = [time for time in times if time >= SPREAD]
    assert len(again) == DEVICES
    assert min(again) >= 0.09 * EVERY


def test_a_fleet_is_the_same_each_time_and_another_with_another_seed() -> None:
    """So the figures can be made again."""
    first, same, other = (sorted(questions(Cut(20, EVERY, EVERY, seed=seed), 3600.0)) for seed in (1, 1, 2))
    assert first == same != other


def test_without_jitter_all_come_in_one_second() -> None:
    """What the others are compared with."""
    fixed, *spread = simulate(200, EVERY)
    assert busiest(fixed.times) == 200
    assert len(fixed.times) == 800
    assert all(busiest(town.times) <= 9 for town in spread)
    assert simulate(5, 7 * 3600.0)[0].times[-1] == 21 * 3600.0


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([], Queue(0.0, 0.0, 0)),
        ([5.0], Queue(2.0, 7.0, 1)),
        ([0.0, 0.0, 0.0], Queue(6.0, 6.0, 3)),
        ([3.0, 0.0, 1.0], Queue(3.0, 6.0, 2)),
        ([0.0, 10.0, 12.0], Queue(2.0, 14.0, 1)),
    ],
)
def test_who_comes_while_another_is_served_waits(times: list[float], expected: Queue) -> None:
    """One takes two seconds."""
    assert serve(times, 2.0) == expected


def test_counts_of_nothing() -> None:
    """No error."""
    assert busiest([]) == 0
    assert list(histogram([], 60.0)) == []
    assert list(histogram([125.0], 60.0)) == [0, 0, 1]


def test_a_log_is_read_and_a_malformed_one_refused() -> None:
    """Whoever asks whether the log is complete is not counted."""
    text = "7 120 200 625 /metadata/timestamp.json\n8 80 404 300 /.asked\n"
    assert read_log(text) == [Asked(7, 120, 200, 625, "/metadata/timestamp.json")]
    with pytest.raises(ServeError, match=r"nginx's log: expected .*connection"):
        read_log("127.0.0.1 - - GET\n")


def test_a_load_of_other_requests_is_refused() -> None:
    """Before anything is asked."""
    with pytest.raises(ServeError, match=r"the request for /metadata/2\.root\.json: expected 100 bytes"):
        run_load(VISITS[0], 1, lambda: 0.0, visits=1, seconds=1.0)


def test_the_tool_prints_what_was_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests and bytes of a device, the busiest second, and how long the last one waits."""
    monkeypatch.setattr(updates, "measure", lambda *_: MEASURED)
    assert main(["--devices", "300"]) == 0
    told = capsys.readouterr().out
    assert "| everything is new | 2 | 1 | 5,300 | 190 |" in told
    assert "- `/metadata/2.root.json`: 404, 300 bytes" in told
    assert "| nothing is new | 3 | 60 | 80 (40 to 100) | 4.000 (3.000 to 5.000) ms |" in told
    assert "| without jitter | 300 | 600 | 1,200 |" in told
    assert "| everything is new | 100 Mbit/s | without jitter | 6.0 s | 6.0 s | 300 |" in told
    assert "| nothing is new | 1,000 Mbit/s | without jitter | 1.5 s | 1.5 s | 300 |" in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--devices", "0"], "--devices: expected above 0, found 0"),
        (["--load-seconds", "-1"], "--load-seconds: expected above 0"),
        (["--rounds", "0"], "--rounds: expected above 0, found 0"),
        (["--every", "0"], "--every: expected above 0"),
        (["--every", "soon"], "--every: expected seconds"),
    ],
)
def test_misuse_is_one_line(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2."""
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_load_counts_what_the_server_took_for_a_device() -> None:
    """Its rate is of load and server together."""
    load = MEASURED.loads[1][0]
    assert (load.per_second, load.cpu_per_visit) == (80.0, 0.005)
