"""Photographs of a training: listed, read, augmented and put into batches; no network is built here."""
