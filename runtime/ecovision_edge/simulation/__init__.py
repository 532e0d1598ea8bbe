"""What stands in for a camera: synthetic frames, and a tray by a script with its truth."""
