"""The join as a task of a Flink job: frames of records → task log → the joiner's session → frames of messages and progress."""
