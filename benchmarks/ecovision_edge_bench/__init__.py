"""Measuring for ecovision-edge: figures that can be reproduced, and the command that reproduces each."""
