"""The clock: what is sent when its time comes."""
