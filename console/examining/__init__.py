"""What the doctor looks at, a module for each kind of dependency; each look gives findings as it makes them."""
