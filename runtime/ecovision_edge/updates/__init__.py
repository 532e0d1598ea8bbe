"""Updates: the device's side of a release. Which bundles are here, which one runs, and the way back.

`store` keeps whole bundles and which of them is the current one; it needs no library, and `run` reads it.
`fetching` needs the extra `update`; a device imports it in the process of `ecovision-edge update` alone.
"""

__all__: list[str] = []
