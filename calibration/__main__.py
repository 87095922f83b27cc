"""`python -m calibration` is `wattcal`."""

from .cli import entry

if __name__ == "__main__":
    entry()
