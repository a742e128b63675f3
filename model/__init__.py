"""What is learned; no I/O: features → table → networks, kernels → evaluation → array file."""
