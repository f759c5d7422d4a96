"""What every process shares: the words, the state and the rules of a sync."""
