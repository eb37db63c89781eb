"""Training one network, alone or on several GPUs."""
