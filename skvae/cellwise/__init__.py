"""What each cell of a row is, given the others: odd cells and what would be normal there."""
