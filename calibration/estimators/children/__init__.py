"""Scripts that run tools in processes, and environments, of their own; nothing imports them."""
