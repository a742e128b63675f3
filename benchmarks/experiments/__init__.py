"""What the statistics of experiments promise, measured on made-up visitors whose truth is known."""
