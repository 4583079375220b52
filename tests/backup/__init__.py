"""Backups: what is written, what it restores to, and what is left when something goes wrong."""
