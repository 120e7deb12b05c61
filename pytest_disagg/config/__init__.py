"""What a file says: schema, loading, errors with file:line, case ids. Importing this package imports nothing."""
