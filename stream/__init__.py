"""How events become weights: log (Kafka, SQLite) → records → inputs → join → learn → weights, followed by servers."""
