"""Database packs: folders that carry a described data set (records, descriptors, perhaps thumbnails) to others."""

from scicevpr.packs.pack import open_pack as open_pack  # the name that the card of every published pack tells
