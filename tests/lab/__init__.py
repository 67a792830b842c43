"""What the scenarios stand on: a Signet of one's own, raw and real clients, real peers."""
