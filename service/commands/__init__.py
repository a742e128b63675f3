"""What each command of ``sml`` does, one file for each; :mod:`service.cli` has their options. Commands about one thing share a folder."""
