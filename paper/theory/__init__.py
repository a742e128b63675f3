"""The theory, checked: linear networks → their minima (Theorem 1); random networks → their variance (Eq. 4 to 12)."""
