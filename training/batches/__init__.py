"""What the networks learn from: cases on their grid, varied, and drawn into batches."""
