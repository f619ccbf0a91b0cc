"""Training of the networks: phantoms, data sets, losses, recipes and evaluation.

    datasets -> phantoms -> prepared -> batches, sequences -> stages -> train -> evaluate, export

A number or a rule marked "(ours)" comes from no paper: it was set here.
"""
