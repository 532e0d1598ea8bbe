"""What is wrong with sinks before they start: names that they cannot carry, places that two would use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent
from ecovision_edge.sinks.base import Sink

__all__ = ["check_names", "check_sinks"]


def check_sinks(sinks: Iterable[Sink], *, labels: Sequence[str], bins: Sequence[str], device: str) -> None:
    """Refuse sinks that would fail with the first event, or with each other.

    Args:
        sinks: None of them started.
        labels: The classes that events may name.
        bins: The bins that events may name.
        device: What events call the device.

    Raises:
        OptionError: the sink, the name, and what it can carry; or what two of them would write to.
    """
    users: dict[str, Sink] = {}
    for sink in sinks:
        check_names(sink, labels=labels, bins=bins, device=device)
        for place in sorted(sink.claims()):
            if place in users:
                raise OptionError(
                    place, expected="one sink alone", found=f"two, {users[place].name} and {sink.name}"
                )
            users[place] = sink


def check_names(sink: Sink, *, labels: Sequence[str], bins: Sequence[str], device: str) -> None:
    """Refuse names that a sink can never carry; arguments and errors as of `check_sinks`."""
    for what, names in (("label", labels), ("bin", bins), ("device", (device,))):
        for name in names:
            _check_text(what, name)
    for event in _probes(labels, bins, device):
        sink.check_event(event)


def _check_text(what: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as e:
        raise OptionError(f"name of a {what}", expected="UTF-8", found=ascii(name)[:60]) from e


def _probes(labels: Sequence[str], bins: Sequence[str], device: str) -> Iterator[BinEvent]:
    """Yield an event of each label and of each bin, as long as one may be."""
    some_bin, longest = max(bins, key=len, default=""), max(labels, key=len, default="")
    pairs = [(None, some_bin), *((label, some_bin) for label in labels), *((longest, bin) for bin in bins)]
    for label, bin in pairs:
        yield BinEvent(
            id="0123456789ab-1000000",
            sequence=1_000_000,
            item=1_000_000,
            time=0.0,
            label=label,
            best_label=longest if label is None else label,
            best_probability=1 / 3,
            bin=bin,
            reason=f"{label} {bin} {' ' * 200}",
            bundle="0" * 64,
            bundle_name="n" * 200,
            bundle_version="9" * 64,
            device=device,
            health="RUNNING",
            probability=1 / 3,
            margin=1 / 7,
            frames=1000,
            seconds=1 / 3,
            monotonic=1e9 / 3,
        )
