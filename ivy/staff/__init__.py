"""The control room: the pages on which staff see what is wrong, stop it, put it right, and look after customers."""
