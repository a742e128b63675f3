"""What an experiment's sums say: moments, bins → sequence, shares → comparison, guard_rail → report; off_policy. No I/O."""
