"""What an experiment's sums say: moments, bins → sequence, shares, planning → report; off_policy. Pure: no file, no log."""
