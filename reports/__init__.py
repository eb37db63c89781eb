"""Tables, figures and one HTML page from a frame of results. Knows nothing of models or sweeps."""
