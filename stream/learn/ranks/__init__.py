"""Learning on several ranks: messages → the leader, and those that assist it → groups, by which they come together."""
