"""MLflow as a mirror of the store, records of sweeps, and results as data frames."""
