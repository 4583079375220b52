"""The HTTP service: the interface existing callers speak, and one with jobs beside it."""
