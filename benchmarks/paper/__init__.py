"""What was measured of the paper: its tables, its figures, its theory."""
