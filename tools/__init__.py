"""Commands of the build: each is run by a Makefile target."""
