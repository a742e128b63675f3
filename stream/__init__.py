"""How events become weights: log (kafka, sqlite) → events → join → learner → checkpoint → publish / follow."""
