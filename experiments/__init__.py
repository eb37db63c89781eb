"""Sweeps: from a YAML file to a filled store and MLflow's record of it."""
