"""What can be done to payments and plans: one async keyword-only function for each write."""
