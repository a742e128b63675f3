"""Impressions and clicks become examples: dispatch → matching, by window or immediate → session → joiner; recovery, sharing."""
