"""How events become weights: log (Kafka, SQLite) → events → join → learn → weights, followed by servers."""
