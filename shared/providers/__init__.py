"""How to sign in to each warehouse: one module and one ``Config`` per service provider."""
