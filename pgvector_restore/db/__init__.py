"""The database side: connections, the target's shape, COPY, transactions. All SQL lives here."""
