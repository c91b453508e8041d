"""What can go wrong, each a class that acts on a world."""
