"""r-softmax, the probability map with exact zeros: one file per way of computing it; SPEC.md says what it means."""
