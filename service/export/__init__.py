"""How a model leaves: published weights → a folder that other programs load, with no pickle in it and no need of this package."""
