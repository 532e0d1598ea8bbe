"""Two classifiers on the same pictures: which is right more often, where they disagree, and at what cost.

The command `compare` prints it; a device asks it before it takes a new bundle. numpy and OpenCV alone.
"""

__all__: list[str] = []
