"""A bundle and what is in it: contract, manifest, golden vectors; knows no engine and no camera."""
