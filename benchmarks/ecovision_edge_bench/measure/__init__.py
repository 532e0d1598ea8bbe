"""One run of the benchmark: what to measure, schedule, workers, raw samples, and whether to believe them.

How a result looks is for `page` to say, what an engine does for `subjects`.
"""

__all__: list[str] = []
