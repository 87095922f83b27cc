"""Estimators against injected truth: run the released tools, unmodified, and compare every number.

`scenarios` says what is played, `tools` how each tool is asked and what its fields claim, `play`
brings both together, `judge` compares, without knowing any tool, `report` shows it.
"""
