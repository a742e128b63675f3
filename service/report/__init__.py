"""What an evaluation is seen in: blocks, slices, field_worth (what is counted) → charts → page (one file, for any browser, offline)."""
