"""Training: data, losses, the loop and the export to a bundle."""
