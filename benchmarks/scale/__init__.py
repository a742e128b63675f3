"""What it takes beyond one machine: restarts, followers, and a plan with measured unit costs."""
