"""One adapter per software estimator under test."""
