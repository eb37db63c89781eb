"""Data sets: facts known in advance, fixed splits, published files, decoding, and the prepared uint8 arrays."""
