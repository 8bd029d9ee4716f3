"""The only package that runs tensors: base model, flat batch, KV cache, attention, sampler, runner."""
