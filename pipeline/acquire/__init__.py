"""Fetches everything that comes from outside: addresses, downloads, archives and weights."""
