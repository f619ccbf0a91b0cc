"""What others query and retrieve."""
