"""The model, without I/O: features → table → networks, kernels → evaluation → array file; registry names the networks."""
