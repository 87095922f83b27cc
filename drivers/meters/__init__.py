"""One instrument family a file."""
