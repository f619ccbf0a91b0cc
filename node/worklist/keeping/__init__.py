"""What files go, and what must stay."""
