"""The gateway's process: settings, start, reload and shutdown."""
