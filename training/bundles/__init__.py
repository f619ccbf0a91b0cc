"""A recipe's networks as a bundle, with its card."""
