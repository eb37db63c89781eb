"""The page of `edm-sweep demo`: draws images from trained networks and shows how they come about."""
