"""A whole calibration on a simulated machine."""
