"""EDM diffusion models (Karras et al. 2022): networks, training, sampling, scoring. Nothing of sweeps or Ray."""
