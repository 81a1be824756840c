"""Files that come in. Partners, customers, items, rates and payments: all of a file or nothing of it."""
