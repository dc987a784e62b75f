"""Texts of suites that are quick to run."""

SMALL = """
title = "Two small victims"
budgets = [40, 80]
seeds = 1
training = { epochs = 3 }

[victims.wide]
data = "digits"
network = "mlp"
training = { epochs = 3 }

[victims.narrow]
data = "digits"
network = "mlp20"
training = { epochs = 2 }
surrogate = "linear"

[defenses.none]

[defenses.sigmoid]
access = [{ kind = "Budget", queries = 100 }]
outputs = [{ kind = "ReverseSigmoid" }]

[defenses.APGP]
outputs = [{ kind = "APGP", steps = 20 }]
victims = ["wide"]

[defenses."nasty teacher"]
boundary = [{ kind = "NastyTeacher", training = { kind = "Training", epochs = 1 } }]
victims = ["narrow"]

[defenses."nasty teacher".recipe]
kind = "Defense"
outputs = [{ kind = "Rounding", decimals = 2 }]

[attacks.KnockoffNets]
kind = "KnockoffNets"

[attacks.RS]
kind = "SeedSamples"
chunk = 40
only = ["none", "sigmoid"]

[lenses."labels only"]
steps = [{ kind = "HardLabels" }]

[lenses.D-DAE]
steps = [{ kind = "Recovered", shadows = 1, first = 40, pairs = 100, steps = 10 }]
attacks = ["KnockoffNets"]
only = ["sigmoid", "APGP"]

[lenses."known parameters"]
steps = [{ kind = "KnownParameters" }]

[[expected]]
victim = "wide"
defense = "none"
score = "victim_accuracy"
value = 0.9
source = "ma2021undistillable"
"""
