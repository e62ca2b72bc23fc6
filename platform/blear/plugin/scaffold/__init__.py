"""`blear plugins new`: a plugin to begin with, complete and working, with its tests and a job."""
