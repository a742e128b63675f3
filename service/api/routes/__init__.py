"""The endpoints, one file for each kind: predict → events → model (and health) → metrics → console."""
