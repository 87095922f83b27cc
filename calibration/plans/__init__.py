"""Plans as pure data: what the machine is told to do, and when."""
