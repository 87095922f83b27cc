"""Runs in, results out: alignment, points, fits, uncertainty, validation, verdict."""
