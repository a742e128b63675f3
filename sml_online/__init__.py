"""SML Online, as it is installed: its packages lie in this one (``hatch_build.py``), so that no other name is taken."""
