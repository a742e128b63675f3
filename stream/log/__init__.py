"""The log, one contract with two backends: connect → topics → messages → partitions of Kafka or of an SQLite file → records."""
