"""From a fit to a profile and a page."""
