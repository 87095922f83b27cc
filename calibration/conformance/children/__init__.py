"""Scripts that run in the tools' own environments; never imported here."""
