"""For the person on call: what is stuck, the story of one payment, how to drive it on, what is in quarantine."""
