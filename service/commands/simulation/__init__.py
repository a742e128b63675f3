"""A simulated site whose true click probabilities are known: site → traffic → simulate; the settings of an experiment on it."""
