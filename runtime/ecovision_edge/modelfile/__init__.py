"""Reads and rewrites model files without an engine."""
