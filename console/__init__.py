"""One set of verbs, and the skins operators reach them through."""
