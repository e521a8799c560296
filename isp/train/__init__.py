"""Training: one engine, three short loops (stage 1, GAN stage 2, distillation); python -m tools.train runs them."""
