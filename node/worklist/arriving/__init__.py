"""What comes in, is filed or set aside, and whose it is."""
