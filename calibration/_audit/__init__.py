"""The private half of `audit`: one tool a file, each a pure function of a file's text."""
