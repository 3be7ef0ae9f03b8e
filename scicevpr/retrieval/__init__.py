"""From descriptors to ranked matches: exact search, IVF-PQ for millions of rows, principal components."""
