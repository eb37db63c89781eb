"""Trains a network on one GPU or several, with checkpoints, validation and pictures along the way."""
