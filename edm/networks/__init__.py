"""Networks F(c_in x; c_noise, label)."""
