"""MLflow as a mirror of the store, and results as data frames."""
