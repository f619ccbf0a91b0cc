"""What the node watches itself by: canaries and coverage."""
