"""Drivers for physical power meters; knows nothing of calibration."""
