"""Training of the readers: phantoms, data sets, losses, recipes and evaluation."""
