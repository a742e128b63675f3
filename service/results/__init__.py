"""What each command prints with ``--json``: stored, learned (the types) → schema."""
