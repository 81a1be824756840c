"""One file for each page of the menu. Views ask `request.scope` for rows, and no model."""
