"""Work lists and what they need: quarantine, price lists, items, files that come in and go out."""
