"""Impressions and clicks become examples: dispatch → input state → window or immediate join → joiner; recovery rebuilds the state."""
