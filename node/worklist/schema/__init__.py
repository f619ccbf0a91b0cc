"""The tables, what they are made of, and the database that holds them."""
