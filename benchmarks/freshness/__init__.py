"""How soon what happens counts in predictions, whatever breaks and however much comes."""
