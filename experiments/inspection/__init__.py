"""Read-only answers about a store, as values."""
