"""From PyTorch to one simplified ONNX graph, and what one does with a graph; no quantization here."""
