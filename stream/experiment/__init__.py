"""What each arm of an experiment has brought: examples → counting → sums (a file of its own), read as they are written."""
