"""The parts of `calibration.profile`: checks, arithmetic, results. Standard library only."""
