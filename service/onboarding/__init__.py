"""A sample of the data becomes ``sml.toml``: file → sample → field kinds → settings file."""
