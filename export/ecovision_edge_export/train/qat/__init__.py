"""Quantization-aware fine-tuning: the weights learn what int8 will do to them.

`fake` is the exporter's own int8 graph as a PyTorch module, with the rounding of `rounding`; `weights` brings
what it learnt back into torchvision's state dict; `record` is what travels in the checkpoint, so that an
export takes the same ranges; `check` compares module and model layer by layer; `distill` is what a step makes
small; `prepare` is all of it around a checkpoint, and `method` what `train --qat` does.
"""
