"""A study: its runs in clones, their differences, and its tables and picture."""
