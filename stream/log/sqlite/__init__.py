"""The log in one SQLite file: file → packing, retention → reader → log."""
