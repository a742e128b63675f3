"""What is measured, with the command that repeats it: each module prints both sides of a comparison, and their ratio."""
