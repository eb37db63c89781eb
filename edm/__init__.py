"""EDM diffusion models (Karras et al. 2022): networks, training, sampling, scoring. Knows nothing of sweeps, Ray or MLflow."""
