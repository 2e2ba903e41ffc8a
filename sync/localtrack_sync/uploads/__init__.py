"""How files get to where a remote keeps them: places, parts, signed addresses, the manifest. Pure."""
