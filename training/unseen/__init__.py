"""Sites that networks never saw: how they are read, and what follows for a bundle's rules."""
