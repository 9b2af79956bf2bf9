"""The example specs, one `.ssm` a system, as data: `ssmc examples` lists and copies them."""
