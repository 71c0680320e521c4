"""What every process needs: I/O, no business words."""
