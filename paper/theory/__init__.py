"""The paper's theory, checked: minima of linear networks (Theorem 1), variance of random networks (Eq. 4 to 12)."""
