"""A package of somebody else's, whose methods Feint finds by its entry points."""
