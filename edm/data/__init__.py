"""Data sets: what is known of each by name, their fixed splits, and the prepared uint8 arrays."""
