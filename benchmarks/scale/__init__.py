"""What learning beyond one process, and beyond one machine, costs and gains."""
