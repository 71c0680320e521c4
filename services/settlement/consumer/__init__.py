"""What reaches the settlement room over NATS: events of other rooms, and ledgers that ask."""
