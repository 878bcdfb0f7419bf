"""Runs within the peers, in their own environments: the model behind each server, the same for all."""
