"""pgvector_restore."""
