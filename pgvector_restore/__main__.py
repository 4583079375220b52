"""``python -m pgvector_restore``: the command line."""

from pgvector_restore.cli import main

if __name__ == "__main__":
    main()
