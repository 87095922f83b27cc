"""The run on disk: documents, writer, reader, and importers of other people's recordings."""
