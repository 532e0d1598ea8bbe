"""Programs to start from: copy one, and change what is yours. Run them with `python -m`."""

__all__: list[str] = []
