"""The rules of identity (domain §1 and §8), pure: time and randomness are arguments, nothing here does I/O."""
