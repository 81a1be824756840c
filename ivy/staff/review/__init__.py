"""Review of mails: what went wrong, by cause; each mail with all that is known of it; and what is ordered of them."""
