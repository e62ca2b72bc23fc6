"""The datasets: AffectNet, RAF-DB, Friends, AnotherMissOh and CK+."""
