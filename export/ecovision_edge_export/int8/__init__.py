"""From an fp32 graph to an int8 one that is fast and near enough: calibration, search, quantization."""
