"""How good predictions are: progressive validation, as usual or as served → scores → quality of the newest; which crosses would help."""
