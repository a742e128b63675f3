"""What was observed about an example → keys of its fields' values → features: the rows that it reads of the table."""
