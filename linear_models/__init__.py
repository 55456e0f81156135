"""What the theory predicts for linear encoders: views, objectives, closed forms and a reference integrator."""
