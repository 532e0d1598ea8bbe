"""The process that is killed: a whole bin, as fast as it goes, that says what its sinks acknowledged.

    python -m ecovision_edge_bench.power_cut.bin RUN FOLDER PORT

Each line on standard output is written by one system call, so it is whole and outlives a kill: `put ID LABEL`
when the bin has decided; `file ID LABEL`, `mqtt ID LABEL`, `serial ID LABEL` when that sink has acknowledged;
`position DEGREES` of the servo, `none` without pulses. It ends when standard input does.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge.bundle.contract import Contract, InputSpec, ResizeSpec, WeightsSource
from ecovision_edge.camera import FakeCamera, WatchOptions
from ecovision_edge.classifier import Classifier
from ecovision_edge.decision import DeciderOptions
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.loop import LoopOptions, LoopResult
from ecovision_edge.sinks import Sink
from ecovision_edge.sinks.gpio import GpioOptions, GpioSink
from ecovision_edge.sinks.lines import FileDelivery
from ecovision_edge.sinks.mqtt import MqttOptions, MqttSink
from ecovision_edge.sinks.serial import SerialDelivery, SerialOptions
from ecovision_edge.smart_bin import SmartBin

__all__ = ["ANGLES", "BINS", "FAILSAFE", "main"]

BINS = ("left", "right", "rest")
ANGLES = {"left": -60.0, "right": 60.0, "rest": 0.0}
FAILSAFE = "rest"
_SERVO = 18
_LABELS = 400  # of one run: no two of its items have the same, while it lives
_FRAME = 0.005  # seconds from one to the next


def _say(*words: str) -> None:
    os.write(1, (" ".join(words) + "\n").encode())


def _say_event(what: str, event: BinEvent) -> None:
    _say(what, event.id, event.label or "-")


class _Scripted:
    """A network that names each item by its number; `item` is set by whoever counts them."""

    engine = "scripted"
    threads = 1

    def __init__(self, run: int) -> None:
        self.item = 0
        self.contract = Contract(
            labels=tuple(f"r{run}i{n}" for n in range(_LABELS)),
            weights=WeightsSource(architecture="scripted", source="none", sha256="0" * 64, revision=None),
            input=InputSpec(height=32, width=32),
            resize=ResizeSpec(filter="fast"),
        )

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        logits = np.zeros((len(batch), _LABELS), np.float32)
        logits[:, self.item % _LABELS] = 20.0
        return logits


class _InTurns:
    """Labels go to the left and to the right, in turns."""

    default = FAILSAFE
    unknown_cost = 1 / 3

    def expected_costs(self, probabilities: Sequence[float], labels: Sequence[str]) -> Mapping[str, float]:
        return {"left": 1 - sum(probabilities[::2]), "right": 1 - sum(probabilities[1::2])}


class _File(FileDelivery):
    def deliver(self, event: BinEvent) -> None:
        super().deliver(event)
        _say_event("file", event)


class _Serial(SerialDelivery):
    def deliver(self, event: BinEvent) -> None:
        super().deliver(event)
        _say_event("serial", event)


def _mock_pins() -> None:
    """Let gpiozero drive pins that say what the servo's has."""
    import gpiozero  # type: ignore[import-untyped,unused-ignore]
    from gpiozero.pins.mock import MockFactory, MockPWMPin  # type: ignore[import-untyped,unused-ignore]

    class Telling(MockPWMPin):  # type: ignore[misc,unused-ignore]
        def _set_state(self, value: float) -> None:
            super()._set_state(value)
            width = value * 20  # ms, of 50 pulses a second
            _say("position", f"{(width - 1.5) * 180:.0f}" if value else "none")

    gpiozero.Device.pin_factory = MockFactory(pin_class=Telling)


def _sinks(folder: Path, port: int) -> list[Sink]:
    return [
        Sink("file", _File(folder / "events.jsonl", max_bytes=20_000, keep=999, fsync=True)),
        MqttSink(
            MqttOptions(host="127.0.0.1", port=port, prefix="cut"),
            folder / "spool",
            on_safe=lambda event: _say_event("mqtt", event),
            first_delay=0.02,
            most_delay=0.1,
        ),
        Sink(
            "serial",
            _Serial(str(folder / "tty"), SerialOptions(timeout=0.1, attempts=20)),
            max_age=10.0,
            first_delay=0.2,
            most_delay=5.0,
        ),
        GpioSink(GpioOptions(servo=_SERVO, angles=ANGLES, failsafe=FAILSAFE, hold=0.004, travel=0.002)),
    ]


def main(argv: Sequence[str]) -> int:
    """Run until standard input ends."""
    run, folder, port = int(argv[0]), Path(argv[1]), int(argv[2])
    _mock_pins()
    network = _Scripted(run)

    def decided(event: BinEvent) -> None:
        _say_event("put", event)
        network.item += 1

    def seen(result: LoopResult) -> None:
        """What lies on the tray: the next item comes as soon as the last one is decided."""
        if smart_bin.status.state is BinState.DECIDED:
            smart_bin.clear()
        elif smart_bin.status.state is BinState.EMPTY:
            smart_bin.trigger()

    smart_bin = SmartBin(
        Classifier(network, artifact="scripted"),
        FakeCamera(interval=_FRAME),
        _InTurns(),
        sinks=_sinks(folder, port),
        options=DeciderOptions(gate="trigger", settle=0, min_frames=2, rearm=0, cooldown=0, error=0.5),
        loop_options=LoopOptions(watch=WatchOptions(frozen_after=None)),
        on_event=decided,
        on_result=seen,
        device="cut",
    )

    def listen() -> None:
        sys.stdin.read()
        smart_bin.stop()

    threading.Thread(target=listen, daemon=True).start()
    with smart_bin:
        smart_bin.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
