"""Imports released feature archives into stores, and exports stores in the layouts of these archives."""
