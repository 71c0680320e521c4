"""What notify does: take facts in, hand messages out."""
