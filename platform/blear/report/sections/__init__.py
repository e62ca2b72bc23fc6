"""The sections of the page, one module each: `section(view)` gives what its template shows, or None."""
