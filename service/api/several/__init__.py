"""Several models in one server: request → the model that its path names → that model's own application, or what is said for all."""
