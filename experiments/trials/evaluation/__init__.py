"""Drawing the images of a training, measuring and scoring them."""
