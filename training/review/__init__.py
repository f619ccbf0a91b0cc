"""The difficult-case review of Kang 2023, from blind reading to revised truth."""
