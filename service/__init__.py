"""How people and programs reach it: settings → app, metrics, console page, the ``sml`` command."""
