"""One byte-exact emulated instrument a file, shipped with the drivers."""
