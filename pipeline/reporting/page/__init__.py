"""Pages that show results: every query with its windows, the kinds of mistakes, and a comparison of prediction files.

`own.py` makes the page of a user's own prediction files. A page is one HTML file that loads nothing from a network.
"""
