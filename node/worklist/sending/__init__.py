"""What is owed, sent, promised and confirmed."""
