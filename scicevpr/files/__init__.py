"""Files: reading and writing them safely, photos, descriptor files; what every floor above stands on."""
