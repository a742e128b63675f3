"""The log, one contract with two backends: connect → topics → messages → partitions in Kafka or in an SQLite file → records → reading."""
