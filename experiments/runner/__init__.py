"""What to start next, where, and for how long."""
