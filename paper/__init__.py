"""What the paper shows, done again: file → preprocess → dataset → train → results → plan → report, pictures."""
