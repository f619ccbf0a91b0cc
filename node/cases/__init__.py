"""What becomes of a series: assembled, triaged, reported, and explained."""
