"""What is asked of a whole archive: what the node does for its patients, and how it changes."""
