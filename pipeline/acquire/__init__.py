"""Everything that comes from outside: addresses, downloads, archives, weights, and the account of every video."""
