"""A finished model file: how it was made, and how long it takes here."""
