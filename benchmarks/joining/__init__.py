"""How fast impressions and clicks are joined, and what a label that comes late costs."""
