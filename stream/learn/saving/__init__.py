"""What a learner keeps beside the log, in threads: snapshots, checkpoints, copies of them in the archive."""
