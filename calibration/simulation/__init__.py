"""A machine with known truth, for demonstrations and tests."""
