"""The same in a stream: stream → plan → passes → bootstrap → tables, figures → pages."""
