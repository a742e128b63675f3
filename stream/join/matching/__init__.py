"""One partition's impressions and their clicks: what waits, what is known → input state → window, or immediate."""
