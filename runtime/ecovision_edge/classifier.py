"""The public heart: a frame goes in, a prediction comes out."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecovision_edge.backends import Backend, BackendOptions
from ecovision_edge.backends.engines import open_model
from ecovision_edge.base.files import is_folder, is_there
from ecovision_edge.base.providers import option_pairs
from ecovision_edge.base.softmax import softmax
from ecovision_edge.bundle.contract import Contract, Filter
from ecovision_edge.bundle.folder import Bundle, embedded_bundle_path, read_file
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES, Format
from ecovision_edge.errors import ArtifactNotFoundError, BundleNotFoundError, ContractError, ModelError
from ecovision_edge.prediction import Prediction, Timings
from ecovision_edge.preprocess import Bgr, Frame, Preprocessor, as_bgr
from ecovision_edge.preprocess.frames import checks_for

if TYPE_CHECKING:
    from ecovision_edge.bundle.identity import BundleIdentity
    from ecovision_edge.camera.source import FrameSource
    from ecovision_edge.loop import LoopOptions, LoopResult

__all__ = ["Classifier", "Prediction", "Timings"]

_FORMATS: dict[str, Format] = {".onnx": "onnx", ".tflite": "tflite"}
_LOADABLE = "a bundle's folder, an .onnx or a .tflite file"


class Classifier:
    """Classifies camera frames with one artifact of a bundle. Made by `Classifier.load`.

    `classify`, `classify_batch` and `logits` may be called from several threads at once.
    """

    def __init__(
        self, backend: Backend, *, artifact: str, bundle: Bundle | None = None, filter: Filter | None = None
    ) -> None:
        """Wrap a loaded engine; `Classifier.load` is the usual way."""
        self._backend = backend
        self._preprocessor = Preprocessor(backend.contract, filter=filter)
        self._artifact = artifact
        self._bundle = bundle

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | None = None,
        *,
        artifact: str = "auto",
        threads: int | None = None,
        providers: Sequence[str] | None = None,
        provider_options: Mapping[str, str | int] | None = None,
        spinning: bool | None = None,
        delegate: str | None = None,
        fp16: bool = False,
        filter: Filter | None = None,
        profile: bool = True,
    ) -> Classifier:
        """Load a bundle's artifact, or a lone model file that carries its contract.

        Args:
            source: A bundle's folder, an `.onnx` or a `.tflite` file, or None for the reference bundle in
                this package.
            artifact: Which model of the bundle: its name (`int8-onnx`, `int8-tflite`), its precision (`int8`,
                `fp32`), or `auto`: what the device profile says, if `ecovision-edge tune` saved one for this
                bundle on this device; else as `Bundle.artifact` chooses, for this CPU where there are several
                of a name (`int8-onnx@arm64`). ONNX runs in onnxruntime, TFLite in LiteRT.
            threads: Threads for one inference, 1 to 256; None is the cores this process may use, at most 4.
            providers: onnxruntime execution providers in order of preference; None is the CPU. Of a TFLite
                model they are refused. `cuda` is short for `CUDAExecutionProvider`.
            provider_options: Options of the providers, by onnxruntime's names: `{"trt_fp16_enable": 1}`. What
                begins with `trt_` is TensorRT's, `device_id` both of NVIDIA's, and any other the only
                provider's beside the CPU; `cuda:use_tf32` names its own.
            spinning: Whether the engine's threads spin while they wait; False leaves the cores to the rest
                of the program, and several threads then gain little (see `BackendOptions`). None is as the
                device profile says, else True. LiteRT does not look at it.
            delegate: A shared library that LiteRT runs a TFLite model with (`libedgetpu.so.1`); None is the
                CPU. Of an ONNX model it is refused.
            fp16: Whether LiteRT computes in fp16 what the model computes in fp32; refused where the CPU has
                no such arithmetic. False is as the device profile says, else fp32.
            filter: Overrides the contract's resize filter, `pil` or `fast`, for measuring: the figures of
                the bundle hold for the contract's own.
            profile: Whether what this device has kept is used. A profile sets artifact and threads at once,
                and the size in a bundle that has several, where neither artifact nor threads is given, nor
                providers, a delegate or fp16. One that does not fit this device, these versions or this
                bundle is passed over, with a warning in the log `ecovision_edge` that says why. Of a bundle's
                ONNX model the graph as onnxruntime rewrites it is kept beside the profiles by the first load,
                and makes the next one faster, which then looks only at the model's size (`verify` hashes it);
                the answers are the same bits.

        Raises:
            BundleNotFoundError, ArtifactNotFoundError: there is no such thing.
            BundleReadError, IntegrityError, UnsafePathError: the files are not what the manifest says.
            ContractError: what the model says of itself is malformed, or is not what the manifest says.
            ModelError: the engine cannot open it, or it does not fit its contract.
            MissingDependencyError: its engine is not installed; the message has the pip line.
            OptionError: an option outside its range, or of the other engine.
            InferenceError: a provider opens the model and cannot run it.
        """
        options = BackendOptions(
            threads,
            None if providers is None else tuple(providers),
            spinning is not False,
            delegate,
            fp16,
            option_pairs(provider_options),
        )
        engine = threads is not None or providers is not None or delegate is not None or fp16
        asked = engine or artifact != "auto"
        path = embedded_bundle_path() if source is None else Path(source)
        if is_folder(path):
            bundle = Bundle.open(path)
            sessions = None
            if profile:
                from ecovision_edge.profile import load_profile, session_folder  # only a bundle has them

                sessions = session_folder()
                if not asked and (found := load_profile(bundle)) is not None:
                    artifact = found.artifact
                    bundle = bundle if found.size is None else bundle.at_size(found.size)
                    spin = found.spinning if spinning is None else spinning
                    options = BackendOptions(found.threads, spinning=spin, fp16=found.fp16)
            return cls.from_bundle(bundle, artifact, options, filter=filter, sessions=sessions)
        if not is_there(path):
            raise BundleNotFoundError("nothing to load", expected=_LOADABLE, found=f"nothing at {path}")
        format = _FORMATS.get(path.suffix.lower())
        if format is None:
            raise ModelError("cannot tell what to load", expected=_LOADABLE, found=path.name)
        if artifact != "auto":
            raise ArtifactNotFoundError(
                "a lone model file has no artifacts to choose from", expected="auto", found=artifact
            )
        real = path.resolve()  # the user's own path may be a link: into a model store, for instance
        data = read_file(real.parent, real.name, MAX_FILE_BYTES)
        return cls(open_model(data, format, options), artifact=path.name, filter=filter)

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        artifact: str = "auto",
        options: BackendOptions | None = None,
        *,
        filter: Filter | None = None,
        sessions: Path | None = None,
    ) -> Classifier:
        """Load one artifact of an opened bundle; raises as `load`.

        Args:
            bundle: Opened.
            artifact: As of `load`.
            options: How its engine runs.
            filter: As of `load`.
            sessions: The folder in which a faster start is kept (`profile.session_folder`); None keeps none.
        """
        # An artifact for fp16 is slow without it, so no CPU is taken for that kind by itself.
        entry = bundle.artifact(artifact, "arm64-fp16" if options is not None and options.fp16 else None)
        cache = None
        if sessions is not None and entry.format == "onnx":
            from ecovision_edge.backends.session_cache import SessionCache

            cache = SessionCache(sessions, entry.file.sha256)
        if cache is None:
            backend = open_model(bundle.read(entry), entry.format, options)
        else:  # a graph that was kept is of the model that the manifest names, and is checked as it is read
            bundle.check_there(entry)
            backend = open_model(lambda: bundle.read(entry), entry.format, options, cache=cache)
        if backend.contract != bundle.contract:
            raise ContractError(
                f"the contract in {entry.file.file} is not that of bundle.json",
                fix="export the bundle again",
            )
        return cls(backend, artifact=entry.name, bundle=bundle, filter=filter)

    @property
    def contract(self) -> Contract:
        """What the model needs and gives."""
        return self._backend.contract

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self._backend.contract.labels

    @property
    def artifact(self) -> str:
        """Name of the artifact, or of the lone model file."""
        return self._artifact

    @property
    def bundle(self) -> Bundle | None:
        """The bundle it came from, of its size where there are several; None for a lone model file."""
        return self._bundle

    @property
    def identity(self) -> BundleIdentity | None:
        """Which bundle it came from: name, version, id; None for a lone model file."""
        return None if self._bundle is None else self._bundle.identity

    @property
    def backend(self) -> Backend:
        """The engine."""
        return self._backend

    def __repr__(self) -> str:
        return f"<Classifier {self._artifact} of {len(self.labels)} classes on {self._backend.engine}>"

    def classify_bgr(self, image: Bgr) -> Prediction:
        """Classify a frame that is checked already, or a part of one; raises InferenceError."""
        start = time.perf_counter()
        batch = self._preprocessor.prepare_bgr(image)
        return self._predict(batch, start)[0]

    @checks_for(classify_bgr)
    def classify(self, frame: Frame) -> Prediction:
        """Classify one frame, `(height, width, 3) uint8 BGR` of any size, as OpenCV gives it.

        Grey, BGRA and float frames are taken as `ecovision_edge.preprocess.as_bgr` says.

        Raises:
            FrameTypeError, FrameValueError: not a frame.
            InferenceError: the engine failed.
        """
        return self.classify_bgr(as_bgr(frame))

    def classify_batch(self, frames: Sequence[Frame]) -> list[Prediction]:
        """Classify several frames, of any sizes, in one run of the network; raises as `classify`."""
        if len(frames) == 0:
            return []
        start = time.perf_counter()
        batch = self._preprocessor.prepare_batch(frames)
        return self._predict(batch, start)

    def stream(self, source: FrameSource, options: LoopOptions | None = None) -> Iterator[LoopResult]:
        """Classify the newest frame of a source, again and again; see `ecovision_edge.loop.CameraLoop`.

        Args:
            source: A source that `ecovision_edge.camera.open_source` gives.
            options: Pace and limits.

        Raises:
            CameraLostError: the source could not be reconnected as often as allowed (default: it is tried
                for ever).
            InferenceError: the engine failed.
        """
        from ecovision_edge.loop import CameraLoop

        return iter(CameraLoop(self, source, options))

    def logits(self, frame: Frame) -> npt.NDArray[np.float32]:
        """Return the network's raw output for one frame, `(classes,) float32`; raises as `classify`.

        Where the contract's output is probabilities, these are their natural logarithms.
        """
        logits: npt.NDArray[np.float32] = self.run(self._preprocessor.prepare(frame))[0]
        return logits

    def prepare(self, frame: Frame) -> npt.NDArray[np.uint8 | np.float32]:
        """Return the network input for one frame, `contract.input.shape(1)`."""
        return self._preprocessor.prepare(frame)

    def reduction(self, height: int, width: int) -> int:
        """Return how many times smaller a JPEG of that size may be decoded for this network: 1, 2, 4 or 8.

        What is left to shrink is left to the contract's filter, so the answers are those of the whole picture
        but for as little as one level of noise makes: `read_image(path, classifier.reduction)`.
        """
        return self._preprocessor.reduction(height, width)

    def run(self, batch: npt.NDArray[np.uint8 | np.float32]) -> npt.NDArray[np.float32]:
        """Return logits `(n, classes)` for network inputs that `prepare` made."""
        output = self._backend.run(batch)
        if self.contract.output.kind == "probabilities":
            output = np.log(np.maximum(output, np.finfo(np.float32).tiny))
        return output

    def probabilities(self, logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Compute softmax of `logits / temperature` over the last axis."""
        return softmax(logits, self.contract.temperature)

    def _predict(self, batch: npt.NDArray[np.uint8 | np.float32], start: float) -> list[Prediction]:
        prepared = time.perf_counter()
        logits = self.run(batch)
        inferred = time.perf_counter()
        rows = self.probabilities(logits).tolist()
        share = 1000 / len(rows)
        timings = Timings(
            (prepared - start) * share,
            (inferred - prepared) * share,
            (time.perf_counter() - inferred) * share,
        )
        return [self._prediction(row, timings) for row in rows]

    def _prediction(self, probabilities: list[float], timings: Timings) -> Prediction:
        index = max(range(len(probabilities)), key=probabilities.__getitem__)
        score = probabilities[index]
        second = max(p for i, p in enumerate(probabilities) if i != index)
        return Prediction(self.labels[index], index, score, score - second, tuple(probabilities), timings)
