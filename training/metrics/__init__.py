"""What results are worth: figures with their uncertainty, tables and curves."""
