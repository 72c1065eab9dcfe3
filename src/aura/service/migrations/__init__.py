"""Alembic's steps from an empty database to `tables.py`; `database.migrate` runs them."""
