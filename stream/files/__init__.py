"""Recorded logs, as people have them: opened → blocks → rows, or columns, by the layout that says what a column is."""
