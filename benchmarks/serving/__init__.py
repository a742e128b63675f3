"""How fast a server answers, starts and sheds what is too much."""
