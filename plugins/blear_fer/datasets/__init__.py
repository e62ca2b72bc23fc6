"""The datasets: FER2013 in its packagings, FERPlus, AFEW."""
