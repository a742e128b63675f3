"""Events in the formats of others, read as JSON: record -> CloudEvents, Confluent's wire format (Avro, Protobuf) -> :attr:`Record.json`."""
