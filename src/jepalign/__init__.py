"""Theory verification for joint-embedding predictive architectures.

The rooms are imported by name, each when it is needed:

* ``jepalign.theory``: the results, proved (SymPy, z3, ball arithmetic);
* ``jepalign.linear_models``: what the theory predicts for linear encoders, computed (NumPy);
* ``jepalign.simulations``: deep encoders against the predictions (PyTorch);
* ``jepalign.figures``: publication figures (Matplotlib).

The command line is ``jepalign --help``.
"""

__version__ = "0.1.0"
