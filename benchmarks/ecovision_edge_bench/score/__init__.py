"""A bin scored as events: what lay on the tray, and what was made of it.

`ecovision-edge score` scores a recording; `compose`, `drawn` and `gates` make sequences of which the truth is
known, and score them without a recording in between.
"""
