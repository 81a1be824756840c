"""Looking after customers: one page that tells all of a customer, what may be changed and posted, and the search."""
