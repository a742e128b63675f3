"""Impressions and clicks become examples: dispatch → input state → window, or immediate, which match clicks → session → joiner."""
