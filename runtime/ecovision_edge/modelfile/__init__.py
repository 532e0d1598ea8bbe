"""Reads and rewrites model files, ONNX and TFLite, byte by byte.

Nothing here loads an engine: `backends` does.
"""

__all__: list[str] = []
