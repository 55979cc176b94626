"""Everything that comes from outside: addresses, downloads, archives, weights."""
