"""Find the fastest way to run a bundle on this device, of those that answer as they should; see `run`."""
