"""From finished models to a bundle that may be written, and to a repository of the hub."""
