"""Never run: mypy --strict reads it, for tests/runtime/test_public_api.py. It uses the API as users do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecovision_edge import (
    Bundle,
    Classifier,
    Contract,
    EcovisionError,
    Prediction,
    Preprocessor,
    Timings,
    VerifyReport,
    __version__,
    read_image,
    verify_bundle,
)
from ecovision_edge.backends import Backend, BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.backends.litert import LiteRtBackend
from ecovision_edge.backends.onnx import OnnxBackend
from ecovision_edge.camera import FakeCamera, FrameSource, Image, WatchOptions, open_source
from ecovision_edge.decision import BinDecider, DeciderOptions, DecisionSettings, Observation
from ecovision_edge.errors import BundleNotFoundError, OptionError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.loop import CameraLoop, LoopOptions, LoopSummary
from ecovision_edge.rules import Rules
from ecovision_edge.sinks import Delivery, Pace, Sink
from ecovision_edge.smart_bin import SmartBin
from ecovision_edge.triggers import Trigger, open_trigger

version: str = __version__

frame: npt.NDArray[np.uint8] = read_image("photo.jpg")
frame = read_image(Path("photo.jpg"))

classifier: Classifier = Classifier.load()
classifier = Classifier.load("bundle")
classifier = Classifier.load(
    Path("bundle"),
    artifact="int8",
    threads=2,
    providers=["tensorrt", "CPUExecutionProvider"],
    provider_options={"trt_fp16_enable": 1, "trt_engine_cache_path": "/var/cache"},
    spinning=False,
    filter="pil",
)
classifier = Classifier.load("model.int8.tflite", delegate="libedgetpu.so.1")
Classifier.load(filter="nearest")  # type: ignore[arg-type]
Classifier.load("bundle", "int8")  # type: ignore[call-arg]
Classifier.load(thread=2)  # type: ignore[call-arg]

prediction: Prediction = classifier.classify(frame)
predictions: list[Prediction] = classifier.classify_batch([frame, frame])
label: str = prediction.label
index: int = prediction.index
score: float = prediction.score
margin: float = prediction.margin
probabilities: tuple[float, ...] = prediction.probabilities
timings: Timings = prediction.timings
total: float = timings.total_ms
prediction.label = "other"  # type: ignore[misc]

logits: npt.NDArray[np.float32] = classifier.logits(frame)
labels: tuple[str, ...] = classifier.labels
contract: Contract = classifier.contract
backend: Backend = classifier.backend
maybe: Bundle | None = classifier.bundle
classifier.classify("photo.jpg")  # type: ignore[arg-type]

bundle: Bundle = Bundle.open("bundle")
again: Classifier = Classifier.from_bundle(bundle, "fp32", BackendOptions(threads=1))
contract = Contract.loads(bundle.contract.dumps())
data: bytes = bundle.read(bundle.artifact("int8"))

engine: Backend = OnnxBackend(data)
engine = LiteRtBackend(data, BackendOptions(delegate="libedgetpu.so.1"))
engine = open_model(data, "tflite")
output: npt.NDArray[np.float32] = engine.run(np.zeros(contract.input.shape(1), np.uint8))

preprocessor = Preprocessor(contract, filter="fast")
batch: npt.NDArray[np.uint8 | np.float32] = preprocessor.prepare(frame)
output = classifier.run(batch)

report: VerifyReport = verify_bundle(bundle.path, BackendOptions(threads=1))
ok: bool = report.ok
details: list[str] = [check.detail for check in report.checks]

source: FrameSource = open_source("demo:?frames=3")
loop_options = LoopOptions(every=0.2, watch=WatchOptions(max_reconnects=3))
for result in classifier.stream(source, loop_options):
    picture: Image = result.frame.image
    age: float = result.age_ms
with CameraLoop(classifier, FakeCamera(), on_health=lambda health: print(health.state)) as loop:
    loop.start()
    ended: bool = loop.wait(1.0)
    summary: LoopSummary = loop.summary()

rules = Rules.load("rules.toml")
decider = BinDecider(
    classifier.labels, rules, DeciderOptions(decide_within=2.0), classify=classifier.classify
)
event: BinEvent | None = decider.step(picture, 0.0)
observation: Observation = decider.observe(picture, 0.1)
event = decider.step(observation.classified(classifier.classify(observation.part())), 0.1)
event = decider.step(result, 0.2) or decider.step(result.frame, 0.2) or decider.step(result.observation, 0.2)
event = decider.step(prediction, 0.3) or decider.step((0.5, 0.5), 0.3) or decider.step(None, 0.3)
decider.step("glass.jpg", 0.4)  # type: ignore[arg-type]
decider.step(5, 0.4)  # type: ignore[arg-type]
state: BinState = decider.status.state


class Lamp(Sink):
    """A sink of one's own."""

    def deliver(self, event: BinEvent) -> None:
        """One event."""


class Buzzer(Delivery):
    """What a sink of one's own does, apart from the sink."""

    def open(self, pace: Pace) -> None:
        """Once, and after each failure."""
        self.left: float = pace.time_left

    def deliver(self, event: BinEvent) -> None:
        """One event."""


buzzer: Sink = Sink("buzzer", Buzzer(), max_age=10.0)
settings = DecisionSettings(settle=0.5).over(rules.decision)
trigger: Trigger | None = open_trigger("gpio:17?pull=up")
with SmartBin(
    classifier, source, rules, sinks=[Lamp("lamp")], options=settings.options(), trigger=trigger
) as smart_bin:
    done: LoopSummary = smart_bin.run()
SmartBin(classifier, "demo:")  # type: ignore[arg-type]


def status(error: EcovisionError) -> int:
    """Every error has a message and an exit status."""
    message: str = error.message
    return error.exit_status if message else 0


try:
    Classifier.load("none")
except BundleNotFoundError as e:
    not_found: FileNotFoundError = e
except OptionError as e:
    wrong_value: ValueError = e
