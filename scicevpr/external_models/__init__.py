"""Models of other people beside ours: any torch.hub entry or callable, made to fit the rest of the library."""
