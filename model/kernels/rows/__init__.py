"""The rows of the table: found by whole keys, with records of their own; undone, and merged where several ranks have learned them."""
