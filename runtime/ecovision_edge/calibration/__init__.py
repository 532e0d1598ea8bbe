"""Calibration: a temperature and thresholds fitted to photographs of the bin that a model is for."""

from __future__ import annotations

from ecovision_edge.calibration.figures import Calibration, CalibrationOptions
from ecovision_edge.calibration.measure import calibrate
from ecovision_edge.calibration.photographs import Outcome, Showing, classify_photographs
from ecovision_edge.calibration.rewrite import calibrated_bundle, verify_calibrated, write_calibrated

__all__ = [
    "Calibration",
    "CalibrationOptions",
    "Outcome",
    "Showing",
    "calibrate",
    "calibrated_bundle",
    "classify_photographs",
    "verify_calibrated",
    "write_calibrated",
]
