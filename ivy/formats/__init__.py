"""How dates and times are written on the pages of staff: so that they sort, and say the second."""
