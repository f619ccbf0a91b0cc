"""What a recipe may say: its data, its stages, and whose patients they are."""
