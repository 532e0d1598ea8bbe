"""Folders of labelled photographs, decoded as PyTorch's side sees them; knows no network."""
