"""Calibration of software energy estimators against a physical power meter."""
