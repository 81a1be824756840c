"""What programs of partners read: JSON, behind tokens, through the same scope as the pages. See docs/api.md."""
