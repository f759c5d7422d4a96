"""The commands that talk to the API, a module a subject."""
