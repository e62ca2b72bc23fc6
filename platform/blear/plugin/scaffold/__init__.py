"""`blear plugins new`: writes a working plugin with its tests and a job."""
