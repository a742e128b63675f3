"""How fast examples are learned, and what that takes."""
