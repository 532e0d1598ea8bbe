"""TensorFlow Lite: the same graph, converted by litert-torch and quantized by ai-edge-quantizer.

What is ours: the rewrites, ranges, biases and fp32 blocks, as for ONNX; that no tensor needs turning and int8
is one XNNPACK partition; and that no scale leaves here that XNNPACK cannot take.
"""
