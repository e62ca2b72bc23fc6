"""The sections of the page, one module each. `section(view)` returns a `Section`, or None without content."""
