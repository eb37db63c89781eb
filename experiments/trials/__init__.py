"""What one task does, given the store. No Ray, no MLflow, no console."""
