"""What the joiner reads: a site's own events → pointers → values → mapping → impressions and clicks → decode, event time, placement."""
