"""The loop of a training and what happens in it; no file, no option, no photograph by name."""
