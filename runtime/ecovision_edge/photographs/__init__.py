"""Image files as frames, and folders of labelled photographs, one folder per class.

Nothing here knows a network; what a network sees is made in `preprocess`.
"""

__all__: list[str] = []
