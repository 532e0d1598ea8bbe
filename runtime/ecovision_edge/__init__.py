"""ecovision-edge: a garbage classifier on a small computer, and trust in it there.

    >>> import numpy as np
    >>> from ecovision_edge import Classifier
    >>> classifier = Classifier.load()                  # the reference bundle inside this package
    >>> frame = np.full((480, 640, 3), 128, np.uint8)   # as cv2.VideoCapture.read() gives it
    >>> prediction = classifier.classify(frame)
    >>> prediction.label in classifier.labels
    True

Importing this package loads neither torch nor any command-line library; the engine, onnxruntime or LiteRT, is
loaded with the first model.
"""

from ecovision_edge.base.version import __version__
from ecovision_edge.bundle.contract import Contract
from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.classifier import Classifier
from ecovision_edge.errors import EcovisionError
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
