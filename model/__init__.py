"""What is learned; no I/O: features → table → network → skip logit → step → evaluation → snapshot."""
