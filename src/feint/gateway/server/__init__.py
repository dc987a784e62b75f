"""From a file of settings to a gateway that runs until it is told to stop."""
