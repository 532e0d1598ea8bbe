"""The restarts of a broker in the middle of a stream of events, and what became of them."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.events import BinEvent
from ecovision_edge.sinks.mqtt import MqttOptions, MqttSink
from ecovision_edge_bench.power_cut.broker import Mosquitto, Subscriber, wait_until

__all__ = ["HowEnded", "RestartReport", "numbered_event", "restart_broker"]

HowEnded = Literal["TERM", "KILL"]
"""SIGTERM, after which the broker writes down what it holds; or SIGKILL."""

_BACKLOG = 100  # events that may wait in memory: more would not be faster, and the queue is bounded
_WITHIN = 120.0  # seconds: a safety net


@dataclass(frozen=True, slots=True)
class RestartReport:
    """What `restart_broker` found.

    Args:
        events: That the sink was given.
        restarts: Of the broker.
        how: By which signal it ended.
        delivered: Events that the broker acknowledged.
        lost: Events that no subscriber got, and that the broker had not acknowledged before it was killed.
        forgotten: Events that no subscriber got, though the broker had acknowledged them before.
        doubled: Events that came again and were no repetition of the broker's own, so that the sink published
            them twice; at most one for each end of the connection, with the same id.
        repeated: Events that the broker itself repeated to the subscriber, and said so (DUP).
    """

    events: int
    restarts: int
    how: HowEnded
    delivered: int
    lost: int
    forgotten: int
    doubled: int
    repeated: int

    def problems(self) -> list[str]:
        """Return what did not hold, a line each; none if all is well."""
        found = []
        if self.lost:
            found.append(f"{self.lost} events were lost")
        if self.forgotten and self.how == "TERM":
            found.append(f"{self.forgotten} events were forgotten by a broker that ended in peace")
        if self.delivered != self.events:
            found.append(f"{self.delivered} of {self.events} events were acknowledged")
        if self.doubled > self.restarts:
            found.append(f"{self.doubled} events came twice, of {self.restarts} restarts")
        return found

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.events} events, mosquitto ended by SIG{self.how} and started again {self.restarts} times",
            f"acknowledged {self.delivered}, lost {self.lost}, forgotten by the broker {self.forgotten}",
            f"published twice, with one id: {self.doubled} (one at most an end);"
            f" repeated by the broker, and said so: {self.repeated}",
        ]


def restart_broker(
    folder: Path,
    events: int,
    restarts: int,
    how: HowEnded,
    *,
    progress: Callable[[int], object] = lambda done: None,
) -> RestartReport:
    """Publish so many events to a real mosquitto, which ends in the middle and comes back, again and again.

    A broker that is killed may forget what it has acknowledged, for it writes it down a moment later. All
    that was not acknowledged when it died has to come.

    Args:
        folder: For the broker and the spool; there, and empty.
        events: At least ten for each restart and one part more.
        restarts: At least 1.
        how: By which signal.
        progress: Called with the number of events so far.

    Raises:
        OptionError: too few events or restarts.
        SinkError: the broker does not run, or acknowledges nothing.
        MissingDependencyError: mosquitto or paho-mqtt is not installed.
    """
    if restarts < 1 or events < 10 * (restarts + 1):
        raise OptionError(
            "events and restarts",
            expected="1 restart or more, 10 events for each part",
            found=(events, restarts),
        )
    (folder / "broker").mkdir()
    forgettable: set[str] = set()
    with Mosquitto(folder / "broker") as broker, Subscriber(broker.port, "restarts/event") as listener:
        mqtt = MqttOptions(host="127.0.0.1", port=broker.port, prefix="restarts")
        with MqttSink(mqtt, folder / "spool", max_events=events, first_delay=0.02, most_delay=0.05) as sink:
            for part in range(restarts + 1):
                first, end = (events * p // (restarts + 1) for p in (part, part + 1))
                for n in range(first, end):
                    sink.put(numbered_event(n))
                    if n == (first + end) // 2 and part < restarts:
                        forgettable |= _end_and_start(broker, sink, listener, n, how)
                wait_until(lambda end=end: sink.stats.safe == end, "the disk", _WITHIN)  # type: ignore[misc]
                progress(end)
            if not sink.flush(_WITHIN):
                raise SinkError("the broker does not acknowledge", found=sink.stats)
            delivered = sink.stats.delivered
        must = {numbered_event(n).id for n in range(events)} - forgettable
        with contextlib.suppress(SinkError):  # then they are lost, and the report says how many
            listener.wait(lambda: must <= set(listener.ids))
    missing = {numbered_event(n).id for n in range(events)} - set(listener.ids)
    return RestartReport(
        events=events,
        restarts=restarts,
        how=how,
        delivered=delivered,
        lost=len(missing - forgettable),
        forgotten=len(missing & forgettable),
        doubled=listener.doubled,
        repeated=listener.dup,
    )


def _end_and_start(
    broker: Mosquitto, sink: MqttSink, listener: Subscriber, n: int, how: HowEnded
) -> set[str]:
    """Return what the broker may forget: acknowledged when it was killed, and not with the subscriber yet."""
    wait_until(lambda: sink.stats.delivered > n - _BACKLOG, "the broker to keep up", _WITHIN)
    noticed, forgettable = sink.stats.retries, set[str]()
    broker.end(signal.SIGTERM if how == "TERM" else signal.SIGKILL)
    if how == "KILL":
        wait_until(lambda: sink.stats.retries > noticed, "the sink to notice", _WITHIN)
        forgettable = {numbered_event(i).id for i in range(sink.stats.delivered)} - set(listener.ids)
    broker.start()
    return forgettable


def numbered_event(number: int) -> BinEvent:
    """Return an event that is told apart by its number alone."""
    return BinEvent(
        id=f"run-{number}",
        sequence=number,
        item=number,
        time=None,
        monotonic=float(number),
        label="paper",
        bin="paper",
        probability=0.9,
        margin=0.8,
        frames=5,
        seconds=1.0,
        reason="because",
    )
