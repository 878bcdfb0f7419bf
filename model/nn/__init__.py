"""The networks: backbone -> feature, head -> logits and label count, classifier -> both, and its exported form."""
