"""What each command of ``sml`` does, one file for each; :mod:`service.cli` has their options."""
