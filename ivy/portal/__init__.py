"""The pages of partners: where their customers stand, at all times. Every row they see comes through `scope`."""
