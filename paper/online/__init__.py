"""The paper's claims in a stream: stream → passes → bootstrap → study."""
