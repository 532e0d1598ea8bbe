"""What a training leaves: its files, facts, card and curves, and who watches it; nothing here trains."""
