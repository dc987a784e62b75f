"""Tables and pictures of README, README.zh and the docs, from results/ and from the code: `make tables`."""
