"""Image files as frames, and folders of labelled photographs; knows no network."""
