"""The HTTP service: bundles in, label sets out."""
