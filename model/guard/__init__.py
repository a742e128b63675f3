"""Whether weights are fit to be served: examples → sums over a window, a sample of them → checks → the guard, which judges each version."""
