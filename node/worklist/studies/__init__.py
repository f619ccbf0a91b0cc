"""How studies and their cases stand, as people read it."""
