"""One page that shows what was found: every query with its windows, the mistakes, and how prediction files compare.

`own.py` makes the page of somebody's own prediction files. A page is one HTML file that asks nothing of any network.
"""
