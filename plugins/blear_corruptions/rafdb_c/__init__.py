"""The corruptions of RAF-DB-C."""
