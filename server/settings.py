"""Settings of `softprompt serve`: options, `SOFTPROMPT_` environment variables, defaults, in this order."""
