"""What every room may use: fields of JSON, names, sizes, durations, files, statistics, what machine this is.

Nothing here knows another room; what knows a bundle, a camera or a model lives elsewhere.
"""

__all__: list[str] = []
