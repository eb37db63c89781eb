"""Networks that somebody else trained: reading them from the formats in which they are published."""
