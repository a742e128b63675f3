"""What ``sml bench`` measures: step, table, learn, predict, publish → both sides in one run → a line with their ratio."""
