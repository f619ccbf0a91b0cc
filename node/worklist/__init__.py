"""The node's memory: one SQL database, SQLite or PostgreSQL. All the SQL there is stands here."""
