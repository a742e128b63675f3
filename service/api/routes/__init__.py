"""The endpoints, one file for each kind: predict → explain → events → model (and health) → metrics → console."""
