"""Run it: `python -m ecovision_edge_bench.fleet.updates`; see the package."""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.base.durations import parse_duration
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge_bench.fleet.arrivals import Cut, busiest, histogram, questions
from ecovision_edge_bench.fleet.asking import Fleet, Visit, ask
from ecovision_edge_bench.fleet.load import Load, run_load
from ecovision_edge_bench.fleet.nginx import Nginx
from ecovision_edge_bench.fleet.queue import serve

__all__ = ["Measured", "Town", "main", "measure", "simulate"]

_DAY = 86_400.0
_SHORT_CUT, _AWAY = 600.0, 1200.0  # seconds
_LINKS = (100e6, 1e9)  # bits a second


@dataclass(frozen=True, slots=True)
class Measured:
    """What one nginx was asked for by one device, and by as many as this machine can be.

    Args:
        version: Of nginx.
        visits: Of one device.
        loads: Of each visit the same again, by many, in rounds.
    """

    version: str
    visits: tuple[Visit, ...]
    loads: tuple[tuple[Load, ...], ...]

    def lines(self) -> Iterator[str]:
        """Yield what to print, in Markdown."""
        yield f"nginx {self.version}. One device asks:"
        yield ""
        yield "| what there is for it | requests | connections | bytes that it gets | bytes of its requests |"
        yield "|---|---:|---:|---:|---:|"
        for visit in self.visits:
            counts = (len(visit.asked), visit.connections, visit.sent, visit.received)
            yield f"| {visit.what} | {' | '.join(f'{count:,}' for count in counts)} |"
        for visit in self.visits:
            yield ""
            yield f"{visit.what.capitalize()}:"
            yield ""
            for one in visit.asked:
                yield f"- `{_short(one.path)}`: {one.status}, {one.sent:,} bytes"
        yield ""
        yield "As fast as it goes on this machine, load and nginx beside each other:"
        yield ""
        yield "| what there is | rounds | devices in all | requests a second | nginx's CPU time per device |"
        yield "|---|---:|---:|---:|---:|"
        for visit, loads in zip(self.visits, self.loads, strict=True):
            rates = _range([f"{load.per_second:,.0f}" for load in sorted(loads, key=lambda x: x.per_second)])
            costs = _range([f"{load.cpu_per_visit * 1e3:.3f}" for load in sorted(loads, key=_cost)])
            devices = sum(load.visits for load in loads)
            yield f"| {visit.what} | {len(loads)} | {devices:,} | {rates} | {costs} ms |"


@dataclass(frozen=True, slots=True)
class Town:
    """When the devices of a fleet ask after a power cut.

    Args:
        what: What happened.
        devices: How many there are.
        times: Of all questions within a day, in seconds since the power is back.
    """

    what: str
    devices: int
    times: tuple[float, ...]

    @property
    def first(self) -> tuple[float, ...]:
        """The first ones, as many as there are devices."""
        return tuple(sorted(self.times)[: self.devices])


def measure(folder: Path, bundle: Path, devices: int, seconds: float, rounds: int) -> Measured:
    """Publish, serve, ask, and ask again as many devices.

    Args:
        folder: There, and empty.
        bundle: What to release.
        devices: How many to be in each round; fewer if the time is over.
        seconds: For a round.
        rounds: Of each of the three loads.

    Raises:
        EcovisionError: no nginx, or it or a release does not do as it should.
    """
    places = [folder / name for name in ("fleet", "nginx")]
    for place in places:
        place.mkdir()
    fleet = Fleet(places[0])
    visits: list[Visit] = []
    loads: list[tuple[Load, ...]] = []
    with Nginx(places[1], fleet.repository) as nginx:
        for visit in ask(fleet, bundle, folder / "device", nginx.url, nginx.asked):
            visits.append(visit)
            loads.append(
                tuple(
                    run_load(visit, nginx.port, lambda: nginx.cpu, visits=devices, seconds=seconds)
                    for _ in range(rounds)
                )
            )
        return Measured(nginx.version, tuple(visits), tuple(loads))


def simulate(devices: int, every: float, seed: int = 0) -> tuple[Town, ...]:
    """Return when a fleet asks: by a timer that is the same on all, and by the timetable of this project."""
    fixed = [every * number for number in range(math.ceil(_DAY / every))]
    cuts = {
        "all are due": Cut(devices, every, off=every, seed=seed),
        "all are due, and all have one name": Cut(devices, every, off=every, one_name=True, seed=seed),
        f"off for {_SHORT_CUT / 60:.0f} minutes": Cut(devices, every, off=_SHORT_CUT, seed=seed),
        f"all are due, the server is back {_AWAY / 60:.0f} minutes later": Cut(
            devices, every, off=every, away=_AWAY, seed=seed
        ),
    }
    return (
        Town("without jitter", devices, tuple(time for time in fixed for _ in range(devices))),
        *(Town(what, devices, tuple(questions(cut, _DAY))) for what, cut in cuts.items()),
    )


def _town_lines(towns: Sequence[Town], requests: int) -> Iterator[str]:
    """Yield when a fleet asks; `requests` are those of a device."""
    yield f"{towns[0].devices:,} devices, all started in the same second, in the day that follows:"
    yield ""
    yield "| after the power cut | most devices in a second | requests in that second | questions in all |"
    yield "|---|---:|---:|---:|"
    for town in towns:
        most = busiest(town.times)
        yield f"| {town.what} | {most:,} | {most * requests:,} | {len(town.times):,} |"
    due = towns[1]
    yield ""
    yield f"In each minute, {due.what}: {' '.join(map(str, histogram(due.first, 60.0)))}"
    yield ""
    yield f"In each hour, {due.what}: {' '.join(map(str, histogram(due.times, 3600.0)))}"


def _queue_lines(towns: Sequence[Town], measured: Measured) -> Iterator[str]:
    """Yield how long devices wait for one core of this machine's nginx behind a link."""
    yield "One server, one device after the other, as fast as the slowest round and its link allow:"
    yield ""
    yield "| what there is | link | all are due | the last is served after | longest wait | most at once |"
    yield "|---|---:|---|---:|---:|---:|"
    for visit, loads in zip(measured.visits, measured.loads, strict=True):
        for link in _LINKS:
            seconds = max(*map(_cost, loads), visit.sent * 8 / link)
            for town, name in zip(towns[:2], ("without jitter", "with jitter"), strict=True):
                queue = serve(town.first, seconds)
                row = f"{_seconds(queue.end)} | {_seconds(queue.longest)} | {queue.most:,}"
                yield f"| {visit.what} | {link / 1e6:,.0f} Mbit/s | {name} | {row} |"


def _cost(load: Load) -> float:
    return load.cpu_per_visit


def _range(ordered: Sequence[str]) -> str:
    """Return the median, with the least and the greatest."""
    return f"{ordered[len(ordered) // 2]} ({ordered[0]} to {ordered[-1]})"


def _seconds(value: float) -> str:
    if value < 0.1:
        return f"{value * 1e3:.2f} ms"
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"


def _short(path: str) -> str:
    """Return a path with its hashes cut short."""
    return "/".join(
        ".".join(part if len(part) < 64 else f"{part[:6]}…" for part in name.split("."))
        for name in path.split("/")
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ecovision_edge_bench.fleet.updates",
        description="What a fleet asks of its update server after a power cut in the whole town.",
    )
    parser.add_argument("--devices", type=int, default=10_000, metavar="N", help="default %(default)s")
    parser.add_argument("--every", default="6h", help="between two questions of each (default %(default)s)")
    parser.add_argument(
        "--bundle", type=Path, metavar="DIR", help="what is released (default: the embedded one)"
    )
    parser.add_argument(
        "--load-seconds", type=float, default=1.0, metavar="S", help="for a round of a load (default 1)"
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="N", help="of each of three loads (default 5)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the fleet (default 0)")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, simulate, and print what follows; the exit status."""
    options = _parser().parse_args(argv)
    try:
        every = parse_duration(options.every, "--every")
        numbers = {
            "--devices": options.devices,
            "--load-seconds": options.load_seconds,
            "--rounds": options.rounds,
            "--every": every,
        }
        for name, value in numbers.items():
            if value <= 0:
                raise OptionError(name, expected="above 0", found=value)
        with tempfile.TemporaryDirectory(prefix="ecovision-fleet-") as folder:
            bundle = options.bundle or embedded_bundle_path()
            seconds, rounds = options.load_seconds, options.rounds
            measured = measure(Path(folder), bundle, options.devices, seconds, rounds)
    except EcovisionError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_status
    towns = simulate(options.devices, every, options.seed)
    requests = len(measured.visits[1].asked)
    parts = (measured.lines(), _town_lines(towns, requests), _queue_lines(towns, measured))
    sys.stdout.write("\n\n".join("\n".join(part) for part in parts) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
