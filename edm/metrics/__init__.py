"""Features of images and the scores made from them."""
