"""Opening onnxruntime's session: of a model, or of its graph as an earlier session has rewritten it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from ecovision_edge.base.files import read_regular_file
from ecovision_edge.bundle.manifest import MAX_FILE_BYTES
from ecovision_edge.modelfile.onnx import refuse_external_data

if TYPE_CHECKING:
    from ecovision_edge.backends.session_cache import SessionCache

__all__ = ["Opener"]

_FATAL_ONLY = 4  # onnxruntime's log severity: what it would log comes as an exception too
_LEVELS = np.arange(256, dtype=np.uint8)


class Opener:
    """Opens sessions of the same settings.

    Args:
        threads: Of one inference.
        spinning: Whether they wait for work by spinning.
        providers: Execution providers, in order, each with its options.
    """

    def __init__(self, threads: int, spinning: bool, providers: Mapping[str, Mapping[str, str]]) -> None:
        self._threads, self._spinning, self._providers = threads, spinning, list(providers)
        self._options = [dict(options) for options in providers.values()]

    def open(self, model: bytes | Callable[[], bytes], cache: SessionCache | None) -> ort.InferenceSession:
        """Open a model; with a cache its rewritten graph, if that is there, else it is kept there.

        A model that has to be asked for is not read where its graph is there.

        Raises ModelError for external data, and whatever onnxruntime does: its errors share no base class.
        """
        if cache is not None and (graph := cache.load(self._key)) is not None:
            try:
                return self._open_rewritten(graph)
            except Exception:  # noqa: BLE001 - the model itself is opened in its place, and says what is wrong
                cache.drop(self._key)
        data = model() if callable(model) else model
        refuse_external_data(data)  # one whose graph was kept was looked at then
        session = self._open(data)
        if cache is not None:
            cache.keep(self._key, lambda folder: self._rewritten(data, session, folder))
        return session

    @property
    def _key(self) -> str:
        """What a rewritten graph depends on beside model and processor."""
        return f"{ort.__version__} {ort.get_build_info()} {self._threads} {self._spinning} {self._providers}"

    def _rewritten(self, model: bytes, session: ort.InferenceSession, folder: Path) -> bytes | None:
        """Return the graph as onnxruntime rewrites it, proved by an answer with the same bits; else None."""
        file = folder / "model.onnx"
        settings = self._settings()
        settings.optimized_model_filepath = str(file)
        try:
            self._open(model, settings)
            graph = read_regular_file(file, MAX_FILE_BYTES)
            again = self._open_rewritten(graph)
            same = _answer(again) == _answer(session)
        except Exception:  # noqa: BLE001 - a full disk, for one: nothing is kept, and the session works
            return None
        return graph if same else None

    def _open_rewritten(self, graph: bytes) -> ort.InferenceSession:
        settings = self._settings()
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # all of it was done
        return self._open(graph, settings)

    def _open(self, model: bytes, settings: ort.SessionOptions | None = None) -> ort.InferenceSession:
        # Without enable_fallback=0 it prints to standard output, and quietly takes another provider.
        return ort.InferenceSession(
            model,
            settings or self._settings(),
            providers=self._providers,
            provider_options=self._options,
            enable_fallback=0,
        )

    def _settings(self) -> ort.SessionOptions:
        settings = ort.SessionOptions()
        settings.intra_op_num_threads = self._threads
        settings.inter_op_num_threads = 1
        settings.log_severity_level = _FATAL_ONLY
        settings.add_session_config_entry("session.intra_op.allow_spinning", str(int(self._spinning)))
        return settings


def _answer(session: ort.InferenceSession) -> list[tuple[str, bytes]]:
    """Return what a session answers to all levels in turn, and what it says of its model."""
    given = {}
    for entry in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in entry.shape]
        levels = np.resize(_LEVELS, shape)
        given[entry.name] = levels if entry.type == "tensor(uint8)" else levels.astype(np.float32) / 255
    names = [entry.name for entry in session.get_outputs()]
    answers = [np.asarray(answer).tobytes() for answer in session.run(names, given)]
    told = session.get_modelmeta().custom_metadata_map
    return [
        *zip(names, answers, strict=True),
        *((name, text.encode()) for name, text in sorted(told.items())),
    ]
