"""Whether the exported network is still the same one, measured against PyTorch; changes nothing."""
