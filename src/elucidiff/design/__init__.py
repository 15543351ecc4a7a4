"""The design space as pure mathematics on tensors: no network, no file, no device choice."""
