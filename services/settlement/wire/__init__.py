"""The only place where settlement's messages and its domain values meet."""
