"""What people read: tables of published and reproduced numbers side by side."""
