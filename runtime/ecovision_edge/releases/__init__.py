"""Releases: which bundle a fleet is to run, signed, in a folder of static files that any web server serves.

`channel` is the format that both sides share; it needs no library. The other modules are the publisher's, and
need the extra `update`: python-tuf signs.
"""

__all__: list[str] = []
