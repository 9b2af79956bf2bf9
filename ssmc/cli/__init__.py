"""The command line: one module a command, each a thin caller of the library.

Nothing is computed here. What all commands share stands beside them: `main` (the table of commands, the way errors
end), `terminal` (what is printed where), `files` (targets and atomic writing), `data` (array files), `problems` (what
can be wrong with a file or an option). torch, numpy and the compiler's levels are imported by the commands that need
them, when they run: `ssmc check` starts without torch.
"""
