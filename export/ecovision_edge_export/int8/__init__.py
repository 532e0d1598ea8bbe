"""From an fp32 graph to an int8 one that is fast and near enough: calibration, search, quantization.

Whether the result may be written is for `publish` to say.
"""

__all__: list[str] = []
