"""Networks of a training: the one that learns, made or brought back to life, and its teachers."""
