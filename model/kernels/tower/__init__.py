"""The deep tower with its skip terms, forward and backward with the update; its first layer for several examples at once."""
