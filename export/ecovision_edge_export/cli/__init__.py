"""The exporter's commands, and what they show: thin; they parse, call the library, and print."""
