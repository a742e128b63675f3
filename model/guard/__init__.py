"""Whether weights are fit to be served: examples → sums over a window, a thin sample of them → the guard, which judges each version."""
