"""What runs would read and send, from counts and a sample (pure)."""
