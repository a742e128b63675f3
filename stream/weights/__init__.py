"""Weights on their way to servers: versions → deltas and snapshots, cut into chunks → follow → two copies in service."""
