"""`greentrain fit` and `doctor`: the loop and all that stands around it."""
