"""What a broker still knows of the events that it acknowledged, after a kill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecovision_edge.errors import OptionError, SinkError
from ecovision_edge.sinks.mqtt import MqttOptions, MqttSink
from ecovision_edge_bench.power_cut.broker import SAVED_AT_ONCE, Mosquitto, Subscriber
from ecovision_edge_bench.power_cut.restarts import numbered_event

__all__ = ["SAVINGS", "ForgetReport", "forget"]

SAVINGS: Mapping[str, Sequence[str]] = {
    "no persistence": (),
    "persistence true": ("persistence true",),
    "and autosave_on_changes true": ("persistence true", "autosave_on_changes true"),
    "and autosave_interval 1": SAVED_AT_ONCE,
}
"""Lines of mosquitto's configuration, from what it does by itself to what keeps an event."""

_WITHIN = 60.0  # seconds: a safety net


@dataclass(frozen=True, slots=True)
class ForgetReport:
    """What `forget` found: of each of `SAVINGS`, how many acknowledged events no subscriber ever gets.

    Args:
        events: That the broker acknowledged, for a subscriber with a persistent session that was away.
        forgotten: By name of the setting.
    """

    events: int
    forgotten: Mapping[str, int]

    def problems(self) -> list[str]:
        """Return what did not hold: the setting that the pages give keeps all."""
        (*_, kept) = SAVINGS
        lost = self.forgotten[kept]
        return [f"{lost} of {self.events} events were forgotten with {kept}"] if lost else []

    def lines(self) -> list[str]:
        """For people."""
        return [
            f"{self.events} events acknowledged for a subscriber that is away, then mosquitto killed",
            *(f"{name:30} forgotten {lost:5}" for name, lost in self.forgotten.items()),
        ]


def forget(folder: Path, events: int) -> ForgetReport:
    """Let a broker acknowledge events, kill it, start it again, and count; once for each of `SAVINGS`.

    Args:
        folder: For the brokers and the spools; there, and empty.
        events: At least 1.

    Raises:
        OptionError: no events.
        SinkError: a broker does not run, or acknowledges nothing.
        MissingDependencyError: mosquitto or paho-mqtt is not installed.
    """
    if events < 1:
        raise OptionError("events", expected="1 or more", found=events)
    found = {}
    for number, (name, saving) in enumerate(SAVINGS.items()):
        own = folder / str(number)
        (own / "broker").mkdir(parents=True)
        found[name] = _forgotten(own, events, saving)
    return ForgetReport(events, found)


def _forgotten(folder: Path, events: int, saving: Sequence[str]) -> int:
    with Mosquitto(folder / "broker", saving=saving) as broker:
        Subscriber(broker.port, "forget/event").close()  # from now on the broker keeps events for it
        mqtt = MqttOptions(host="127.0.0.1", port=broker.port, prefix="forget")
        with MqttSink(mqtt, folder / "spool", first_delay=0.02, most_delay=0.05) as sink:
            for number in range(events):
                sink.put(numbered_event(number))
            if not sink.flush(_WITHIN):
                raise SinkError("the broker does not acknowledge", found=sink.stats)
            broker.restart()
            last = numbered_event(events)
            with Subscriber(broker.port, "forget/event") as listener:
                sink.put(last)  # comes after all that the broker still has
                listener.wait(lambda: last.id in listener.ids, _WITHIN)
                return events - len(listener.ids.keys() - {last.id})
