"""Results side by side: numbers in, tables and figures out."""
