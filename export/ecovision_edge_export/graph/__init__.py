"""From PyTorch to one simplified ONNX graph, and one object that edits a graph.

Exact rewrites live in `rewrites`, quantization in `int8`; neither belongs here.
"""

__all__: list[str] = []
