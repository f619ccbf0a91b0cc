"""Accounts, and what people say of results."""
