"""One run of the benchmark: schedule, workers, raw samples, and whether to believe them."""
