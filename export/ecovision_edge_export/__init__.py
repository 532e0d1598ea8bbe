"""The workstation side of ecovision-edge: from a trained checkpoint to a verified bundle.

Needs the extra `export` (torch, torchvision, onnx, onnxsim, ...); importing this package alone does not.
"""
