"""Cases on their way from stage to stage."""
