"""The records of the topics, checked when they are decoded: events, examples, versions, heartbeats; what is wrong with others."""
