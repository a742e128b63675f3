"""What processes tell those who run them: log lines, the audit trail, traces."""
