"""Networks F(c_in x; c_noise, label), which edm/precondition.py turns into denoisers."""
