"""From photos to descriptors: preparing, batches, precision, and the loop over them."""
