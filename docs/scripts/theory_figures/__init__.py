"""What the figures of docs/theory.md show, computed from the project's own functions, and how it is drawn."""
