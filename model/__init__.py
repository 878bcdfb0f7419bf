"""What a model is: the bundle, the preprocessing, the op and the networks."""
