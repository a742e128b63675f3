"""What is learned from recorded files: evaluate, watched on its page → compare; the paper's study again."""
