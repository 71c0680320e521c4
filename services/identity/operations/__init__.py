"""One function for each write: transaction, load, decide in the domain, save, tell; time and randomness are given."""
