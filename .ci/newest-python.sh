#!/bin/sh
# Prints the newest Python after 3.11 that runs here, on the PATH or among pyenv's; nothing where there is none.
for minor in 14 13 12; do
    for python in "python3.$minor" "${PYENV_ROOT:-$HOME/.pyenv}/versions/3.$minor."*/bin/python; do
        # A shim of pyenv's may be there and say no.
        if "$python" -c '' 2> /dev/null; then
            command -v "$python"
            exit
        fi
    done
done
