"""Scores of generated images: features, distances between them, neighbours, errors and intervals."""
