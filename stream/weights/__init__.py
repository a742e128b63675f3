"""How weights reach servers: versions → deltas and snapshots, cut into chunks → follower → two copies, one in service."""
