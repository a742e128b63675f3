"""What each command of ``sml`` does, one file for each; :mod:`service.cli` says how they are called."""
