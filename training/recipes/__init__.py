"""The recipes: one short file each, naming a data set, a backbone, a head, a loss and a schedule."""
