"""ecovision-edge: a garbage classifier on a small computer, and trust in it there.

    >>> import numpy as np
    >>> from ecovision_edge import Classifier
    >>> classifier = Classifier.load()                  # the reference bundle inside this package
    >>> frame = np.full((480, 640, 3), 128, np.uint8)   # as cv2.VideoCapture.read() gives it
    >>> prediction = classifier.classify(frame)
    >>> prediction.label in classifier.labels
    True

Importing this package loads none of its libraries: numpy and OpenCV come with the first name taken from it,
the engine, onnxruntime or LiteRT, with the first model; torch and the command-line libraries never.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ecovision_edge.base.old_cpu import refuse_old_x86
from ecovision_edge.base.version import __version__
from ecovision_edge.errors import EcovisionError

if TYPE_CHECKING:
    from ecovision_edge.bundle.contract import Contract
    from ecovision_edge.bundle.folder import Bundle
    from ecovision_edge.classifier import Classifier
    from ecovision_edge.photographs.images import read_image
    from ecovision_edge.prediction import Prediction, Timings
    from ecovision_edge.preprocess import Preprocessor
    from ecovision_edge.verify import VerifyReport, verify_bundle

__all__ = [
    "Bundle",
    "Classifier",
    "Contract",
    "EcovisionError",
    "Prediction",
    "Preprocessor",
    "Timings",
    "VerifyReport",
    "__version__",
    "read_image",
    "verify_bundle",
]

_HOMES = {
    "Bundle": "bundle.folder",
    "Classifier": "classifier",
    "Contract": "bundle.contract",
    "Prediction": "prediction",
    "Preprocessor": "preprocess",
    "Timings": "prediction",
    "VerifyReport": "verify",
    "read_image": "photographs.images",
    "verify_bundle": "verify",
}
"""The module of each name that is loaded when it is asked for (PEP 562), so that `--help` needs no numpy."""

if not TYPE_CHECKING:  # a type checker would take any name for one of this package

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        refuse_old_x86()
        try:
            value = getattr(import_module(f"{__name__}.{home}"), name)
        except ImportError as e:
            from ecovision_edge.base.installation import missing_library  # here: it brings in much

            missing = missing_library(e)
            if missing is None:
                raise
            raise missing from e
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
