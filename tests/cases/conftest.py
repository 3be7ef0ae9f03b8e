"""Nothing is shared here but the module `brought`; torch is not needed."""
