"""The log in Kafka: security, credentials → client → admin, reader (records, bombs), producer → log."""
