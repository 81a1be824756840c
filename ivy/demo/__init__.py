"""A believable world to look at: three partners, their customers, prices, items, payments and two months of calls.

Pure: `ivy.demo.world.build` makes the texts of files in Ivy's own formats; nothing here knows the database.
"""
