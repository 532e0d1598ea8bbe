"""A folder of wheels from which a board installs without a network.

`boards` says what a board takes, `collecting` has pip fetch it, and `as_board` lets pip answer for the board.
"""

__all__: list[str] = []
