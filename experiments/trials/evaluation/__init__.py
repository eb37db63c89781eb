"""Draws images from a training, measures their features and scores them."""
