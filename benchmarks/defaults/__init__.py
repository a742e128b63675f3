"""What the defaults were chosen by: accuracy with and without, and what each costs."""
