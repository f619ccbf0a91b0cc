"""What commands print on a terminal: tables, pages and lines."""
