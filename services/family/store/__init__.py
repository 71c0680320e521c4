"""What the family database is asked and told: SQL only."""
