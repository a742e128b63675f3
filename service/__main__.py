"""``python -m service``: the ``sml`` command, if it is not on the path."""

from service.cli import app

app(prog_name="sml")
