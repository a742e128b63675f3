"""What the paper shows, done again: offline, online in a stream, and the theory → report → pages."""
