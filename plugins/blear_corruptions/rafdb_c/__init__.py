"""RAF-DB-C."""
