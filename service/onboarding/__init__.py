"""Write ``sml.toml`` from a sample of the data: file → sample → field kinds → settings file."""
