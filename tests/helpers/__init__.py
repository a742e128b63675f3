"""What tests share: real servers, sites of processes, the recorded logs, and what a machine has."""
