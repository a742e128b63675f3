"""``python -m sml_online``, and the ``sml`` command."""

from service.cli import app

if __name__ == "__main__":
    app(prog_name="sml")
