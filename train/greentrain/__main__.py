"""`python -m greentrain`: what the processes of a run on several devices are started by."""

from greentrain.cli import main

if __name__ == "__main__":
    main()
