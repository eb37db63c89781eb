"""Performs one task, given the store, without Ray, MLflow or a console."""
