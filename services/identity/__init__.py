"""The identity room: who someone is, where he is insured, how two people are related, which institutions take part."""
