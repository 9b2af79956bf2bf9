"""The grammar of `.ssm` files (`ssm.lark`) and the language's reference (`README.md`), as data."""
