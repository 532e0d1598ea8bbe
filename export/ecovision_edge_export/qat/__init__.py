"""Quantization-aware fine-tuning: the weights learn what int8 will do to them.

`fake` is the exporter's own int8 graph as a PyTorch module, `weights` brings what it learnt back into
torchvision's state dict, `record` is what travels in the checkpoint so that an export takes the same ranges,
`check` compares module and model layer by layer, `tune` trains.
"""
