"""The model, without I/O: encoding → table → networks, kernels → evaluation, explanation, guard; registry names the networks."""
